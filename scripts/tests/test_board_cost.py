"""The cost of the launch board's viewers: what is measured is summed up in two lines."""

import pytest

from scripts.bench.costs import board_cost
from scripts.bench.costs.board_cost import Watch


def test_the_summary_has_what_all_viewers_but_the_first_take() -> None:
    text = board_cost.summary([0.32, 1.24, 1.39], commit="abc1234")
    assert "0.32 % without viewers, 1.24 % with 1 and 1.39 % with 50 at abc1234" in text
    assert "viewers 2 to 50 take 0.15 % together; the goal is below 1.0 %" in text


def test_the_regularity_is_that_of_the_gaps_between_snapshots() -> None:
    watch = Watch(arrivals=[10.0, 11.0, 12.0, 13.5, 14.5])
    assert watch.gaps() == [1.0, 1.0, 1.5, 1.0]
    text = board_cost.regularity(watch.gaps())
    assert text == (
        "5 snapshots, 1.00 s apart (median), 95 % within 1.00 s, the longest 1.50 s; "
        "the goals are 1.1 s at most (median) and 3 s (longest)"
    )


@pytest.mark.parametrize(
    ("percents", "gaps", "missed"),
    [
        ([0.3, 1.3, 2.2], [1.0, 1.1, 3.0], []),
        ([0.3, 1.3, 2.4], [1.0, 1.0, 1.0], ["processor time"]),
        ([0.3, 1.3, 1.4], [1.0, 1.2, 1.2], ["median"]),
        ([0.3, 1.3, 1.4], [1.0, 1.0, 3.1], ["longest"]),
        ([0.3, 1.3, 2.4], [], ["processor time", "median", "longest"]),
    ],
)
def test_each_goal_that_is_missed_is_named(
    percents: list[float], gaps: list[float], missed: list[str]
) -> None:
    assert board_cost.missed_goals(percents, gaps) == missed
