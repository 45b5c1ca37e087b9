"""`make staff-pages`: times of the operators' pages and of the staff's lists over large tables."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.bench import commits, stage
from scripts.bench.staff_pages import long_work, timing
from scripts.bench.staff_pages.timing import Timed
from scripts.stack import SetupError, children, database, environment, own_stack, places, ports, readiness
from scripts.stack import instance as instances
from scripts.stack.instance import Instance

ROWS, TIMES = 1_000_000, 5
HAVE = "SELECT (SELECT COUNT(*) FROM coupons_coupon), (SELECT COUNT(*) FROM orders_order)"
LONG_WORK = "long"
"""What `--only` is for the upload, the exports and the report."""
FILL_SECONDS = 3_600
PAGES_SECONDS = 1_800
MOST = "1000000"
SETTINGS = (
    stage.SETTINGS | own_stack.NO_RATES | {"OPEN_ORDERS_PER_ACCOUNT": MOST, "OPEN_UNITS_PER_ACCOUNT": MOST}
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make staff-pages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="", help=f"orders, coupons and accounts ({ROWS:,})")
    parser.add_argument("--orders", default="", help="only so many orders")
    parser.add_argument("--times", default="", help=f"how often each page is requested ({TIMES})")
    parser.add_argument(
        "--only", default="", help="only pages whose name contains this; long: only the long work"
    )
    parser.add_argument(
        "--folder", default="", help="keep the filled shop there and use it again; a running one stays"
    )
    asked = parser.parse_args()
    numbers = [asked.rows or str(ROWS), asked.orders or asked.rows or str(ROWS), asked.times or str(TIMES)]
    if not all(text.isdecimal() and int(text) for text in numbers):
        parser.error("ROWS, ORDERS and TIMES are numbers of at least 1")
    rows, orders, times = map(int, numbers)

    def run(instance: Instance) -> int:
        return _run(instance, rows=rows, orders=orders, times=times, only=asked.only)

    if not asked.folder:
        return own_stack.measure("staff-pages", "staff-pages", run)
    home = places.private_folder(Path(asked.folder).resolve())
    return children.run_command("staff-pages: failed", lambda: run(_choose(home)))


def _choose(home: Path) -> Instance:
    """The shop that the folder holds, or a new one."""
    port = str(ports.free(instances.PORTS))
    last = instances.remembered(home)
    if last is not None and ports.answers(str(last.mariadb_socket)):
        return last
    return instances.choose(home=home, port=port, database="mariadb")


def _run(instance: Instance, *, rows: int, orders: int, times: int, only: str) -> int:
    if ports.answers(str(instance.mariadb_socket)):
        return _measure(instance, rows=rows, times=times, only=only)
    with own_stack.running(instance, **SETTINGS):
        _fill(instance, coupons=rows, orders=orders)
        return _measure(instance, rows=rows, times=times, only=only)


def _fill(instance: Instance, *, coupons: int, orders: int) -> None:
    """Fill in what is missing of so many accounts, coupons of one campaign, and orders. Raises SetupError."""
    coupons_there, orders_there = database.rows(instance, HAVE)[0]
    book = instance.data / "gateway.sqlite3"
    for number, words in (
        (coupons - coupons_there, "--campaigns 1 --coupons"),
        (orders - orders_there, f"--book {book} --orders"),
    ):
        if number > 0:
            print(f"Filling: fill_tables {words} {number} …", flush=True)
            filled = own_stack.manage(
                instance, f"fill_tables {words} {number}", within_seconds=FILL_SECONDS, **SETTINGS
            )
            if filled.returncode != 0:
                raise SetupError(f"fill_tables ended with {filled.returncode}: {filled.stderr[-500:]}")
    database.rows(instance, "ANALYZE TABLE orders_order, coupons_coupon, shop_journalline, auth_user")


def _measure(instance: Instance, *, rows: int, times: int, only: str) -> int:
    """Measure and print; 1 if a page misses the goal."""
    readiness.wait_for_shop(instance)
    began_at, load_before = time.monotonic(), os.getloadavg()[0]
    coupons, orders = database.rows(instance, HAVE)[0]
    print(f"{orders:,} orders, {coupons:,} coupons; commit {commits.current()}, load {load_before:.1f}")
    found = _pages(instance, only)
    browser = timing.Browser(instance.port, session=found["session"], token=found["token"])
    timed: list[Timed] = []
    for one in timing.measure(browser, found["pages"], times=times):
        timed.append(one)
        if one.is_slow:
            print(f"slow: {one.median_ms:.0f} ms  {one.page['path']}", flush=True)
    print("\n".join(timing.table(timed)), end="\n\n")
    print("\n".join(timing.slow_ones(timed)))
    slow = sum(one.is_slow for one in timed)
    print(f"{len(timed)} pages, {slow} at {timing.GOAL_MS} ms or more, {time.monotonic() - began_at:.0f} s")
    if only in ("", LONG_WORK):
        staff = long_work.Staff(instance, found["session"], found["token"])
        for line in long_work.measure(staff, codes=rows):
            print(line, flush=True)
    return 1 if slow else 0


def _pages(instance: Instance, only: str) -> dict[str, Any]:
    """The pages, found and counted in a process of the stack's environment. Raises SetupError."""
    own = environment.compose(instance, {}) | SETTINGS | {"PATH": os.environ.get("PATH", "")}
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.bench.staff_pages.pages", only],
        cwd=places.PROJECT,
        env=own,
        capture_output=True,
        text=True,
        check=False,
        timeout=PAGES_SECONDS,
    )
    if ran.returncode != 0:
        raise SetupError(f"the pages can't be found: {ran.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
