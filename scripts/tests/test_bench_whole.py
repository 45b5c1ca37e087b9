"""All of the benchmark once, seconds each, and what becomes of one that is cut short."""

from pathlib import Path

import pytest

from scripts.bench import sizes
from scripts.bench.__main__ import Bench, conclude
from scripts.bench.rows import RATIOS, ROWS
from scripts.stack import instance as instances, ports, process_identity

TINY = sizes.Size(
    name="tiny",
    seconds=1,
    rounds=1,
    users=2_500,
    alone_seconds=1,
    connections=200,
    crowd_vus=50,
    crowd_seconds=1,
    hot_vus=150,
    paid_seconds=1,
    paid_accounts=200,
    accepted_seconds=1,
    accepted_accounts=400,
    vus=(10,),
    step_seconds=1,
    tables=(12_000,),
    filled_orders=200,
    waiting=100,
    estimates=(5, 2, 8),
)


@pytest.mark.long
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
