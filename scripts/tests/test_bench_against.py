"""The loads beside those of another commit: what is a finding, and which goals are missed."""

from dataclasses import replace

from scripts.bench.load import Figures, Run
from scripts.bench.report import comparison
from scripts.bench.report.comparison import Round

FIGURES = Figures(
    seconds=10,
    requests=1_000,
    errors=0,
    statuses={},
    p50_ms=50,
    p95_ms=100,
    max_ms=200,
    k6_cores=0.2,
    microseconds={"web": 800.0, "worker": 1_200.0},
)


def a_run(row: str, per_second: float = 100, p95_ms: float = 100, **others: float) -> Run:
    figures = replace(FIGURES, requests=round(per_second * FIGURES.seconds), p95_ms=p95_ms)
    defaults = {
        "settled_per_second": 100,
        "oldest_waiting_seconds": 1,
        "overloaded": 0,
        "processor": 2_000,
        "peak_mib": 200,
    }
    return Run(row=row, figures=figures, others=defaults | others)


def test_a_missed_goal_and_a_finding_of_either_commit_fail_the_command():
    good = Round(this=a_run("paid", 95, 50), other=a_run("paid", 100, 100))
    assert comparison.failures(comparison.rows([good])) == []
    slow = Round(this=a_run("paid", 90, 50), other=a_run("paid", 100, 100))
    [missed] = comparison.failures(comparison.rows([slow]))
    assert missed == "paid orders, mixed, waiting: paid a second 0.90 ×, and the goal is ≥ 0.95 ×"
    unpaid = replace(good, other=replace(good.other, findings=["paid: 2 are placed, 1 paid"]))
    assert comparison.failures(comparison.rows([unpaid])) == ["other commit, paid: 2 are placed, 1 paid"]
