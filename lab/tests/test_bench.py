"""What the benchmark judges, on figures that are known, beside another commit's too; and once all of it."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from lab import report
from lab.bench import __main__ as command, judging
from lab.bench.judging import Measured, summed_up
from lab.bench.loads import LEAST_OF_ANOTHER, Orders, errors
from lab.bench.rows import ROWS
from lab.bench.sizes import FULL, QUICK, SMALL
from lab.load import Figures
from scripts.stack import children, instance as instances, ports


def failures(*measured) -> list[str]:
    return judging.failures(summed_up(measured))


def test_a_ratio_below_its_goal_and_a_finding_fail_the_command():
    grown = Measured(row="growth", figures={"per_second": 100, "of_empty": 0.89})
    assert failures(grown) == ["growth: of_empty 0.89, and the goal is ≥ 0.9"]
    assert failures(replace(grown, figures={"per_second": 100, "of_empty": 0.9})) == []
    broken = Measured(row="audit", figures={"seconds": 70}, findings=["L1 is broken: [7]"])
    assert failures(broken) == ["L1 is broken: [7]"]


def figures(succeeded: int, failed=0, **counted: int) -> Figures:
    metrics: Any = {name: {"count": count} for name, count in counted.items()}
    metrics["http_req_failed"] = {"passes": failed, "fails": succeeded}
    return Figures(metrics=metrics, seconds=10)


def test_rows_that_are_not_those_of_the_answers_are_found():
    assert list(errors("coupon", figures(100), [100], None)) == []
    assert list(errors("coupon", figures(100), [99], None)) == [
        "coupon: 100 were answered as expected, and 99 were made"
    ]
    assert len(list(errors("coupon", figures(99, 1, status_500=1), [100], None))) == 1
    assert len(list(errors("coupon", figures(99, 1, status_0=1), [101], None))) == 2
    assert list(errors("sold_out", figures(100), [0], None)) == []
    assert len(list(errors("sold_out", figures(100), [1], None))) == 1


def test_an_unexpected_answer_in_a_hundred_is_no_error_of_another_commit_and_two_are():
    one, two = figures(99, 1, status_503=1), figures(98, 2, status_503=2)
    assert len(list(errors("wallet", one, [], None))) == 1
    assert list(errors("wallet", one, [], None, LEAST_OF_ANOTHER)) == []
    assert len(list(errors("wallet", two, [], None, LEAST_OF_ANOTHER))) == 1


@pytest.mark.parametrize(
    ("row", "of", "placed", "paid", "redeemed", "is_wrong"),
    [
        ("accepted", figures(100), 100, 100, 100, False),
        ("accepted", figures(98, 2, status_503=2, overloaded=2), 98, 98, 98, False),
        ("accepted", figures(98, 2, status_503=2, overloaded=1), 98, 98, 98, True),
        ("accepted", figures(100), 99, 99, 99, True),
        ("accepted", figures(100), 100, 99, 100, True),
        ("accepted", figures(100), 100, 100, 99, True),
        ("paid_card", figures(99, 1, status_202=1), 100, 100, 0, False),
        ("paid_card", figures(99, 1, status_202=1), 99, 99, 0, True),
        ("waiting", figures(100), 100, 100, 0, False),
        ("waiting", figures(99, 1), 99, 99, 0, True),
    ],
)
def test_orders_that_are_lost_unpaid_or_without_their_coupon_are_found(
    row, of, placed, paid, redeemed, is_wrong
):
    made = Orders(placed=placed, paid=paid, redeemed=redeemed)
    assert bool(list(errors(row, of, [], made))) == is_wrong


def test_a_missed_goal_and_a_finding_of_either_commit_fail_the_command():
    common = {"p95_ms": 100, "peak_mib": 200}
    this, other = (Measured(row="paid", figures={"per_second": rate, **common}) for rate in (95, 100))
    assert judging.failures([judging.compared("paid", [(this, other)])]) == []
    slow = replace(this, figures={"per_second": 90, **common})
    assert judging.failures([judging.compared("paid", [(this, other), (slow, other), (slow, other)])]) == [
        "paid: per_second × 0.9, and the goal is ≥ 0.95"
    ]
    unpaid = replace(other, findings=["paid: 2 are placed, 1 paid"])
    assert judging.failures([judging.compared("paid", [(this, unpaid)])]) == [
        "other commit, paid: 2 are placed, 1 paid"
    ]


def test_beside_another_commit_rows_without_a_load_are_measured_once_and_idle_before_all_loads():
    size = replace(FULL, rounds=3)
    due = {row: [command.is_due(row, [], number=number, size=size) for number in range(3)] for row in ROWS}
    assert due["coupon"] == [True, True, True]
    assert due["waiting"] == [False, False, True]
    assert due["idle"] == [True, False, False]


def test_a_row_is_measured_again_until_it_is_within_the_budget():
    other = Measured(row="paid", figures={"processor_us": 100})
    slow, quick = (replace(other, figures={"processor_us": spent}) for spent in (116, 114))
    due = partial(command.is_due, "paid", number=1, size=SMALL)
    assert due([]) and due([(slow, other)])
    assert not due([(slow, other), (quick, other)])


TINY = replace(
    QUICK,
    name="tiny",
    seconds=1,
    users=2_500,
    connections=100,
    hot_vus=150,
    paid_seconds=1,
    crowd_vus=50,
    crowd_seconds=1,
    accounts=400,
    tables=[12_000],
    filled_orders=200,
    entrants=6_000,
    draw_seconds=2,
    refunds=20,
    refunding_seconds=2,
)


@pytest.mark.long
@pytest.mark.boots("`make bench`")
def test_every_row_is_measured_and_nothing_is_wrong_with_it(tmp_path, monkeypatch):
    port, file = str(ports.free(instances.PORTS)), tmp_path / "bench.json"
    monkeypatch.setattr(judging, "FILE", file)
    instance = instances.choose(home=tmp_path, port=port, database="mariadb")
    code = command.bench(instance, size=TINY, rows=ROWS)

    kept = report.read(file)["tiny"]
    rows = {row["row"]: row for row in kept["rows"]}
    assert rows.keys() == ROWS.keys()
    assert [finding for row in rows.values() for finding in row["findings"]] == []
    of = {name: row["figures"] for name, row in rows.items()}
    assert of["audit"]["coupons"] >= 12_000 and of["audit"]["orders"] > 200
    assert of["memory"]["peak_mib"] > 0 and of["waiting"]["waiting"] > 0
    assert all(of[row]["of_null"] > 0 for row in ("coupon", "sold_out", "orders", "paid_card", "paid"))
    assert all(of[row]["settled_per_second"] > 0 for row in ("accepted_card", "accepted"))
    assert {"Python", "Django", "uvicorn", "MariaDB", "Redis", "k6"} <= kept["circumstances"][
        "versions"
    ].keys()
    assert code == (1 if judging.failures(kept["rows"]) else 0)
    assert children.of_state(tmp_path) == set()
