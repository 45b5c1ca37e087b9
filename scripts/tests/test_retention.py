"""`make retention` with few rows does all that it does with millions, and `make growth` computes its page."""

import os
import subprocess
import sys
from pathlib import Path

from scripts.bench.growth import page
from scripts.stack import places

WITHIN_SECONDS = 300
SMALL = ("--rows", "6000", "--pairs", "1", "--seconds", "1")
CHECKED = (
    "the command succeeded",
    "all lines of the month are deleted",
    "every column of every restored line is what it was",
)


def test_a_small_run_archives_checks_and_restores_a_month_beside_issuing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.bench.retention", *SMALL],
        cwd=places.PROJECT,
        env=os.environ | {"FIRSTCOME_VAR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [what for what in CHECKED if f"checked: {what}" not in ran.stdout] == []
    assert ran.stdout.count("checked: every law holds") == 2
    assert "NOT TRUE" not in ran.stdout


def test_a_years_bytes_are_those_of_a_row_times_its_rows() -> None:
    gib = page.GIB
    each, file = gib // 365, gib * 3 // 4 // 365
    journal = {"rows": 1_000, "data": each, "indexes": each, "archived_rows": 500, "file": file}
    orders = {"name": "orders_order", "rows": 100, "data": each, "indexes": 0}
    keys = {"name": "shop_idempotencykey", "rows": 100, "data": gib, "indexes": 0}
    accounts = {"name": "auth_user", "rows": 100, "data": 50 * gib, "indexes": 0}
    text = page.render(
        {
            "orders": 1_000,
            "date": "2026-11-24",
            "tables": [{"name": "shop_journalline"} | journal, orders, keys, accounts],
            "events": {"rows": 60, "data": 0, "indexes": 0},
        }
    )
    # A thousand orders a day: two GiB of the journal, one of orders, and one day's of keys.
    kept = 2 * page.KEPT_DAYS / 365 + 2
    assert f"| 1,000 | 4.0 | {kept:.1f} | 3.0 | 1.0 | 1.5 |" in text
    assert "auth_user" not in text
