"""What the benchmark judges, on figures that are known, beside another commit's too; and once all of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.bench import sizes
from lab.bench.__main__ import Bench, conclude
from lab.bench.load import Figures, Measured, Run
from lab.bench.report import comparison, page
from lab.bench.report.comparison import Round
from lab.bench.rows import RATIOS, ROWS
from lab.bench.workloads import connections
from lab.bench.workloads.connections import Answer, Answers
from scripts.stack import instance as instances, ports, process_identity


def grown(of_empty: float) -> Measured:
    return Measured(row="growth", figures={"per_second": 100, "of_empty": of_empty})


def failures(measured: Measured) -> list[str]:
    return list(page.failures(page.rows([measured])))


def test_a_ratio_below_its_goal_fails_the_command():
    missed = failures(grown(0.89))
    assert missed == ["coupon, table filled: 0.89 × empty, and the goal is ≥ 0.90"]
    assert failures(grown(0.9)) == []
    assert (page.conclude("", missed), page.conclude("", [])) == (1, 0)


def test_a_finding_fails_the_command():
    broken = Measured(row="audit", figures={"seconds": 3}, findings=["audit: L1 is broken: [7]"])
    assert failures(broken) == ["audit: L1 is broken: [7]"]


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


TINY = replace(
    sizes.QUICK,
    name="tiny",
    seconds=1,
    users=2_500,
    connections=200,
    crowd_vus=50,
    crowd_seconds=1,
    hot_vus=150,
    paid_seconds=1,
    paid_accounts=200,
    accepted_seconds=1,
    accepted_accounts=400,
    vus=(10,),
    tables=(12_000,),
    filled_orders=200,
    waiting=100,
    estimates=(5, 2, 8),
)


@pytest.mark.long
@pytest.mark.boots("`make bench`")
def test_every_row_is_measured_and_nothing_is_wrong_with_it(tmp_path: Path):
    port = str(ports.free(instances.PORTS))
    report = Bench(instances.choose(home=tmp_path, port=port, database="mariadb"), TINY).report()

    assert [row["row"] for row in report["rows"]] == list(ROWS)
    assert [finding for row in report["rows"] for finding in row["findings"]] == []
    figures = {row["row"]: row["figures"] for row in report["rows"]}
    assert figures["connections"]["connections"] == 200
    assert figures["audit"]["coupons"] >= 12_000 and figures["audit"]["orders"] > 200
    assert figures["audit"]["command_mib"] > 0 and figures["memory"]["peak_mib"] > 0
    assert figures["memory"]["connections_used"] <= figures["memory"]["connections_allowed"]
    assert all(figures[row]["of_null"] > 0 for row in ("coupon", "sold_out", "same_again", "orders"))
    assert all(figures[row]["of_null"] > 0 for row in ("paid_card", "paid"))
    assert all(figures[row]["settled_per_second"] > 0 for row in ("accepted_card", "accepted"))
    assert figures["coupon"]["of_pessimistic"] > 0 and figures["growth"]["of_empty"] > 0
    assert {"Python", "Django", "uvicorn", "MariaDB", "Redis", "k6"} <= report["circumstances"][
        "versions"
    ].keys()
    assert "in web" in next(row["says"] for row in report["rows"] if row["row"] == "coupon")
    missed = [goal for row in report["rows"] for goal in row["goals"] if not goal["is_met"]]
    assert conclude(report) == (1 if any(goal["figure"] in RATIOS for goal in missed) else 0)
    assert process_identity.of_state(tmp_path) == set()
