"""`make bench`: what the shop does a second on a fresh MariaDB stack, beside what it does doing nothing.

Boots a stack of its own on free ports, seeds it, measures every row, audits, prints one table, and writes
docs/bench.json and docs/performance.md. It fails when coupons slow down as the table fills, a law is broken,
a request isn't answered as it should be, or the shop counts otherwise than its callers. With a commit to
compare with, the loads are measured beside that commit and judged by their ratios (`scripts.bench.against`).
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from scripts.bench import (
    against,
    beside,
    connections,
    loads,
    page,
    paying,
    sizes,
    stage,
    table,
    waiting,
)
from scripts.bench.load import Measured, Run, single, summed_up
from scripts.bench.page import Report
from scripts.bench.sizes import Size
from scripts.bench.stage import Stage
from scripts.stack import children, own_stack
from scripts.stack.instance import Instance

WARM_UP_SECONDS = 2
NOISY = "This was a quick run: its ratios are noisy, and one that is just missed may be met by `make bench`."


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the shop on MariaDB.")
    parser.add_argument("--quick", default="", help="1: two minutes instead of twenty")
    parser.add_argument("--against", default="", help="a commit: the loads beside those of that one")
    parser.add_argument("--rows", default="", help="with a commit: only these rows, separated by commas")
    arguments = parser.parse_args()
    if arguments.rows and not arguments.against:
        parser.error("ROWS goes with AGAINST")
    is_quick = arguments.quick in {"1", "yes", "true"}
    children.hear_stop_signals()
    if arguments.against:
        size = sizes.AGAINST_QUICK if is_quick else sizes.AGAINST_FULL
        run = lambda here: against.run(arguments.against, size, here.home, arguments.rows)  # noqa: E731
    else:
        size = sizes.QUICK if is_quick else sizes.FULL
        run = lambda here: Bench(here, size).run()  # noqa: E731
    return own_stack.measure("bench", "bench", run)


class Bench:
    """One run: its stack, its size, and what it has measured so far."""

    def __init__(self, instance: Instance, size: Size) -> None:
        self.instance = instance
        self.size = size
        self.measured: list[Measured] = []
        self.plotted: dict[str, Any] = {}
        self.began_at = time.monotonic()
        self.load_before = os.getloadavg()[0]

    def run(self) -> int:
        """Everything; the exit code. Raises SetupError when it can't be measured, having printed what was."""
        try:
            report = self.report()
        except BaseException:
            print(f"\n{table.printed(page.rows(self.measured))}\n", flush=True)
            raise
        page.keep(report)
        # The page and its plots show full runs alone.
        if self.size.name == sizes.FULL.name:
            page.write(report)
            page.draw(report)
        return conclude(report)

    def report(self) -> Report:
        self.say("Starting a fresh MariaDB stack …")
        with own_stack.running(self.instance, **stage.SETTINGS):
            self.say(f"Seeding {self.size.users:,} accounts and {sizes.PRODUCTS:,} products …")
            self.measure(stage.seeded(self.instance, self.size))
            told = stage.circumstances(self.instance, load_before=self.load_before)
        took = {"seconds": round(time.monotonic() - self.began_at)}
        return page.report(self.size, self.measured, told | self.plotted | took)

    def measure(self, here: Stage) -> None:
        """Every row, and the steps for the plots."""
        self.say("Issuing without HTTP …")
        # First, while the web processes have no connections to the database yet.
        self.measured.append(beside.issuing(here))
        # The first request of each thread opens its connection.
        loads.coupons(here, seconds=WARM_UP_SECONDS)
        coupons = here.count(beside.COUPONS)
        runs = list(self.rounds(here))
        self.measured += summed_up(runs)
        self.say("Crowds …")
        self.measured += [single(load(here)) for load in (loads.crowd, loads.many_buyers, loads.hot_crowd)]
        self.say("Lists, and calls of staff …")
        self.measured += [single(load(here)) for load in loads.LISTS.values()]
        self.say(f"{self.size.connections:,} open connections …")
        self.measured.append(single(connections.measure(here)))
        self.say("Paid orders …")
        self.measured += paying.rows(list(self.paid(here)))
        self.say("Limits …")
        self.measured.append(beside.limits(here))
        self.say("More and more buyers …")
        self.plotted["buyers"], buyers = beside.by_buyers(here)
        self.measured.append(buyers)
        self.plotted["tables"], growth = beside.by_table(here, beside.step(coupons, runs), self.say)
        self.measured += [growth, beside.memory(self.instance)]
        self.say(f"{self.size.waiting:,} buyers who wait …")
        self.measured.append(waiting.row(waiting.measure(here)))
        self.say("Auditing …")
        self.measured.append(beside.audit(here))

    def rounds(self, here: Stage) -> Iterator[Run]:
        """Null beside all that is compared with it: what else the machine does changes within seconds."""
        for number in range(1, self.size.rounds + 1):
            self.say(f"Round {number} of {self.size.rounds}, {self.size.seconds} s a row …")
            yield loads.null(here)
            coupons = loads.coupons(here)
            yield coupons
            yield loads.pessimistic(here)
            yield loads.null(here)
            yield loads.sold_out(here)
            yield loads.null(here)
            yield loads.same_again(here, coupons)
            yield loads.null(here)
            yield loads.orders(here)
            yield loads.null(here)
            yield loads.hot_orders(here)
            yield loads.null(here)

    def paid(self, here: Stage) -> Iterator[Run]:
        """Both bodies, by buyers who wait and by others, with null before and after each."""
        yield loads.null(here)
        for load in paying.LOADS.values():
            yield paying.measure(here, load)
            yield loads.null(here)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began_at:5.0f} s  {text}", flush=True)


def conclude(report: Report) -> int:
    """Print the table and what is wrong; the exit code."""
    print(f"\n{table.printed(report['rows'])}\n\n{page.circumstances(report)}")
    if report["size"]["name"] == sizes.QUICK.name:
        print(NOISY)
    failures = table.failures(report["rows"])
    for failure in failures:
        print(f"bench: FAILED {failure}", file=sys.stderr, flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
