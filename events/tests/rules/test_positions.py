"""Which positions events get."""

import pytest

from events.feed import positions
from events.feed.positions import Run

pytestmark = pytest.mark.rules


def test_runs_follow_one_another_without_a_gap():
    assert positions.following(10, {101: 3, 205: 1, 300: 2}) == {101: 11, 205: 14, 300: 15}


def test_nothing_follows_without_events():
    assert positions.following(10, {}) == {}


def test_a_run_ends_at_its_last_event():
    assert Run(id=101, position=11, length=3).last_position == 13


@pytest.mark.parametrize(
    ("left", "most", "number"),
    [
        pytest.param([3, 2, 1], 4, 3, id="all of a run that ends before the most"),
        pytest.param([1, 2, 1], 3, 3, id="all of a run that ends with the most"),
        pytest.param([1, 3, 2], 3, 1, id="none of a run that goes on beyond the most"),
        pytest.param([4, 3, 2], 3, 3, id="the most of a run that is longer"),
        pytest.param([2, 1, 2], 9, 3, id="what there is of fewer, though their run goes on"),
        pytest.param([], 3, 0, id="nothing of nothing"),
    ],
)
def test_events_are_taken_by_whole_runs(left, most, number):
    found = [(100 + index, rest) for index, rest in enumerate(left)]

    assert positions.whole_runs(found, most) == [(100 + index, 1) for index in range(number)]
