"""What the benchmark judges, on figures that are known: goals, ratios and answers; and its page."""

import pytest

from scripts.bench import __main__ as bench, sizes
from scripts.bench.load import Measured
from scripts.bench.report import page
from scripts.bench.report.page import Report
from scripts.bench.workloads import connections
from scripts.bench.workloads.connections import Answer, Answers

CIRCUMSTANCES = {
    "commit": "abc1234",
    "circumstances": {
        "cores": 2,
        "memory_gib": 4,
        "processor": "a fast one",
        "system": "Linux",
        "load_before": 0.1,
        "versions": {"MariaDB": "10.11", "Django": "5.2"},
    },
    "seconds": 120,
}


def grown(of_empty: float) -> Measured:
    return Measured(row="growth", figures={"per_second": 100, "of_empty": of_empty})


def reported(*measured: Measured, size: sizes.Size = sizes.FULL) -> Report:
    return page.report(size, measured, CIRCUMSTANCES)


def test_a_ratio_below_its_goal_fails_the_command(capsys: pytest.CaptureFixture[str]):
    assert bench.conclude(reported(grown(0.89))) == 1
    said = capsys.readouterr()
    assert "FAILED coupon, table filled: 0.89 × empty, and the goal is ≥ 0.90" in said.err
    assert bench.conclude(reported(grown(0.9))) == 0


def test_a_finding_fails_the_command(capsys: pytest.CaptureFixture[str]):
    broken = Measured(row="audit", figures={"seconds": 3}, findings=["audit: L1 is broken: [7]"])
    assert bench.conclude(reported(broken)) == 1
    assert "FAILED audit: L1 is broken: [7]" in capsys.readouterr().err


def answers(*statuses: int, refused: int = 0, has_retry_after: bool = True) -> Answers:
    each = [Answer(status=status, has_retry_after=has_retry_after, seconds=0.5) for status in statuses]
    return Answers(refused=refused, answers=each, seconds=1)


@pytest.mark.parametrize(
    ("came", "issued", "says"),
    [
        (answers(201, 201, 503, 409), 2, ""),
        (answers(201, 409, 503), 1, "of 2 coupons 1 are issued"),
        (answers(201, 409), 2, "1 were answered 201"),
        (answers(201, 201, refused=1), 2, "1 connections were refused"),
        (answers(201, 201, 0), 2, "1 requests were left without an answer"),
        (answers(201, 201, 500), 2, "other than 201, 409, 503: 1 x 500"),
        (answers(201, 201, 503, has_retry_after=False), 2, "503 without Retry-After"),
    ],
)
def test_what_must_not_become_of_open_connections(came: Answers, issued: int, says: str):
    found = list(connections.findings(came, quantity=2, issued=issued))
    assert (len(found), says in "".join(found)) == (1 if says else 0, True)
