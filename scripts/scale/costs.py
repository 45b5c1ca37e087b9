"""What a million coupons and a million orders take: seconds of processor, bytes of tables and of redo log."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from scripts.bench import watching
from scripts.bench.load import Run
from scripts.bench.stage import Stage
from scripts.bench.workloads import loads, paying
from scripts.scale.results import MILLION
from scripts.stack import database

SECONDS = 4
FILLED = 200_000
"""Rows from which the bytes of a million are computed."""
WRITTEN = "SHOW GLOBAL STATUS WHERE Variable_name = 'Innodb_os_log_written'"
TABLES = "SHOW TABLES"
BYTES = """
SELECT table_name, data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE()
"""

Costs = Mapping[str, Any]
LOADS: Mapping[str, tuple[str, Callable[[Stage], Run]]] = {
    "coupon": ("coupons", lambda stage: loads.coupons(stage, seconds=SECONDS)),
    "order": ("orders of 3 lines, unpaid", lambda stage: loads.orders(stage, seconds=SECONDS)),
    "hot_order": (
        "orders of one hot product, unpaid",
        lambda stage: loads.orders(stage, row="hot_orders", seconds=SECONDS, is_hot=True),
    ),
    "paid": (
        "orders paid by points, coupon and card",
        lambda stage: paying.measure(_short(stage), paying.LOADS["accepted"]),
    ),
}
FILLS = {"coupon": {"coupons": FILLED, "orders": 0}, "paid": {"coupons": 0, "orders": FILLED}}


def measure(stage: Stage, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of processor by process and bytes of redo log by load, bytes by table for what is filled."""
    spent = {}
    for name, (title, load) in LOADS.items():
        say(f"{title}, by HTTP …")
        spent[name] = _of_load(stage, load)
    sizes = {}
    for name, rows in FILLS.items():
        say(f"{FILLED:,} rows of {LOADS[name][0]} …")
        before = _bytes(stage)
        stage.fill(**rows)
        sizes[name] = dict(_grown(before, _bytes(stage)))
    return {"processor_seconds": spent, "table_bytes": sizes}


def _of_load(stage: Stage, load: Callable[[Stage], Run]) -> dict[str, float]:
    """Of a million: a microsecond each is a second of a million."""
    database.wait_until_worked_off(stage.instance)
    redo = _written(stage)
    run = load(stage)
    database.wait_until_worked_off(stage.instance)
    redo = _written(stage) - redo
    microseconds = run.figures.microseconds
    found = {name: microseconds[name] for name in watching.PROCESSES}
    return found | {"redo_bytes": redo * MILLION / max(1, run.figures.requests)}


def _short(stage: Stage) -> Stage:
    return replace(stage, size=replace(stage.size, accepted_seconds=SECONDS, accepted_accounts=5_000))


def _written(stage: Stage) -> int:
    return int(database.rows(stage.instance, WRITTEN)[0][1])


def _bytes(stage: Stage) -> dict[str, int]:
    """The bytes of each table and its indexes, counted anew."""
    for (table,) in database.rows(stage.instance, TABLES):
        database.rows(stage.instance, f"ANALYZE TABLE `{table}`")
    return {name: int(size) for name, size in database.rows(stage.instance, BYTES)}


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    """The bytes of a million rows in each table that has grown by more than a page or two."""
    for name, size in sorted(after.items(), key=lambda item: -item[1]):
        grown = (size - before.get(name, 0)) * MILLION / FILLED
        if grown > MILLION:
            yield name, grown
