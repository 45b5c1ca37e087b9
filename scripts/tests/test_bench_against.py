"""The loads beside those of another commit: what is a finding, and which goals are missed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from scripts.bench.load import Figures, Run
from scripts.bench.report import comparison
from scripts.bench.report.comparison import Round
from scripts.bench.workloads import paying
from scripts.bench.workloads.paying import LOADS, Orders
from shop.tests.case_tables import in_one_test

BEGAN_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
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


def orders(*, placed: int = 1_000, paid: int = 1_000, redeemed: int = 0) -> Orders:
    return Orders(
        placed=placed,
        paid=paid,
        redeemed=redeemed,
        first_placed_at=BEGAN_AT,
        last_paid_at=BEGAN_AT + timedelta(seconds=10),
    )


@in_one_test(
    ("row", "counted", "is_right"),
    [
        ("paid_card", orders(), True),
        ("paid_card", orders(paid=999), False),
        ("paid_card", orders(placed=999, paid=999), False),
        ("paid_card", orders(placed=1_001, paid=1_001), False),
        ("paid", orders(redeemed=1_000), True),
        ("paid", orders(redeemed=999), False),
        ("accepted_card", orders(), True),
        ("accepted", orders(redeemed=0), False),
    ],
)
def test_every_order_is_paid_and_its_coupon_redeemed(row: str, counted: Orders, is_right: bool):
    assert list(paying.check_orders(LOADS[row], FIGURES, counted)) == [] or not is_right
    assert bool(list(paying.check_orders(LOADS[row], FIGURES, counted))) is not is_right


def test_a_missed_goal_and_a_finding_of_either_commit_fail_the_command():
    good = Round(this=a_run("paid", 95, 50), other=a_run("paid", 100, 100))
    assert comparison.failures(comparison.rows([good])) == []
    slow = Round(this=a_run("paid", 90, 50), other=a_run("paid", 100, 100))
    [missed] = comparison.failures(comparison.rows([slow]))
    assert missed == "paid orders, mixed, waiting: paid a second 0.90 ×, and the goal is ≥ 0.95 ×"
    unpaid = replace(good, other=replace(good.other, findings=["paid: 2 are placed, 1 paid"]))
    assert comparison.failures(comparison.rows([unpaid])) == ["other commit, paid: 2 are placed, 1 paid"]
