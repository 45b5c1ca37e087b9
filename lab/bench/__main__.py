"""`make bench`: what the shop does a second on a fresh MariaDB stack, beside what it does doing nothing.

It fails when a ratio of two of its loads misses its goal, a law is broken, a request isn't answered as it
should be, or the shop counts otherwise than its callers.
"""

import argparse
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from lab import report, stage as stages
from lab.bench import against, beside, judging, loads, sales, stage, waiting
from lab.bench.loads import LOADS
from lab.bench.rows import COMPARED, FULL, QUICK, ROWS, Measured, Size, summed_up
from lab.bench.stage import Stage
from lab.load import ratio
from scripts.stack import children, own_stack
from scripts.stack.instance import Instance

WARM_UP_SECONDS = 2
ROUNDS = ("coupon", "sold_out", "orders", "hot_orders", "coupon_orders", "shared_orders")
PAID = ("paid_card", "paid", "accepted_card", "accepted")
ONCE = ("buyers_1000", "crowd", "hot_crowd", "coupon_list", "wallet", "product_list", "order_list")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the shop on MariaDB.")
    parser.add_argument("--quick", default="", help="1: three minutes instead of twenty")
    parser.add_argument("--against", default="", help="a commit: the loads beside those of that one")
    parser.add_argument("--rows", default="", help="only these rows, separated by commas")
    parser.add_argument("--rounds", default="", help="how often each row is measured that has rounds")
    asked = parser.parse_args()
    rows = asked.rows.split(",") if asked.rows else [*(COMPARED if asked.against else ROWS)]
    if unknown := set(rows) - set(COMPARED if asked.against else ROWS):
        parser.error(f"ROWS={','.join(unknown)} is not measured: choose from {','.join(ROWS)}")
    size = QUICK if asked.quick in {"1", "yes", "true"} else FULL
    if asked.rounds or asked.against:
        size = replace(size, rounds=int(asked.rounds or max(size.rounds, 2)))
    children.handle_stop_signals()
    run = partial(against.run, name=asked.against) if asked.against else bench
    return own_stack.measure("bench", "bench", partial(run, size=size, rows=rows))


def bench(instance: Instance, *, size: Size, rows: Collection[str]) -> int:
    """One run; the exit code."""
    measured = []
    with stage.running(instance, size) as here:
        for one in summed(here, rows):
            measured.append(one)
            stages.say("; ".join(judging.cells(one)))
        found = report.circumstances(instance)
    return judging.write(measured, file=judging.FILE, size=asdict(size), seconds=stages.seconds(), **found)


def summed(here: Stage, rows: Collection[str]) -> Iterator[dict[str, Any]]:
    """The rows of each part that has one of those that are asked for."""
    # The first request of each thread opens its connection.
    loads.coupons(here, seconds=WARM_UP_SECONDS)
    for names, measure in PARTS:
        if not set(rows).isdisjoint(names):
            stages.say(f"{', '.join(names)} …")
            yield from summed_up(one for one in measure(here) if one.row in names)


def beside_null(rows: Sequence[str], here: Stage) -> Iterator[Measured]:
    """Rows beside null; and orders with a shared code beside those with coupons that were issued before."""
    issued = 0.0
    for run in here.beside_null([partial(LOADS[row], here) for row in rows], partial(loads.null, here)):
        issued = run.figures["per_second"] if run.row == "coupon_orders" else issued
        share = {"of_issued": ratio(run.figures["per_second"], issued)} if run.row == "shared_orders" else {}
        yield replace(run, figures={**run.figures, **share})


PARTS: Sequence[tuple[Sequence[str], Callable[[Stage], Iterable[Measured]]]] = (
    (("null", *ROUNDS), partial(beside_null, ROUNDS)),
    (ONCE, lambda here: (LOADS[row](here) for row in ONCE)),
    (PAID, partial(beside_null, PAID)),
    (("events", "webhooks"), beside.feed),
    (("growth",), beside.growth),
    (("memory",), beside.memory),
    (("board",), beside.board),
    (("waiting",), lambda here: [waiting.measure(here)]),
    (("sale_entries", "sale_poll", "sale_poll_wait", "sale_order"), sales.measure),
    (("null_key",), beside.by_key),
    (("idle",), beside.idle),
    (("audit",), beside.audit),
)
"""Rows that are measured together, in this order: the memory is that of all loads before."""

if __name__ == "__main__":
    sys.exit(main())
