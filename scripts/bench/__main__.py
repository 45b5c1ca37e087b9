"""`make bench`: what the shop does a second on a fresh MariaDB stack, beside what it does doing nothing.

Boots a stack of its own on free ports, seeds it, measures every row, audits, prints one table, and writes
docs/bench.json and docs/performance.md. It fails when coupons slow down as the table fills, a law is broken,
a request isn't answered as it should be, or the shop counts otherwise than its callers. With a commit to
compare with, the loads are measured beside that commit and judged by their ratios (`scripts.bench.against`).
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from scripts.bench import against, sizes, stage
from scripts.bench.load import Measured, Run, single, summed_up
from scripts.bench.report import page
from scripts.bench.report.page import Report
from scripts.bench.sizes import Size
from scripts.bench.stage import Stage
from scripts.bench.workloads import beside, connections, key_calls, loads, paying, sales, waiting
from scripts.stack import children, own_stack
from scripts.stack.instance import Instance

WARM_UP_SECONDS = 2
NOISY = "This was a quick run: its ratios are noisy, and one that is just missed may be met by `make bench`."


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the shop on MariaDB.")
    parser.add_argument("--quick", default="", help="1: two minutes instead of twenty")
    parser.add_argument("--against", default="", help="a commit: the loads beside those of that one")
    parser.add_argument("--rows", default="", help="with a commit: only these rows, separated by commas")
    parser.add_argument("--rounds", default="", help="how often each row is measured that has rounds")
    arguments = parser.parse_args()
    if arguments.rows and not arguments.against:
        parser.error("ROWS goes with AGAINST")
    if arguments.rounds and not (arguments.rounds.isdecimal() and int(arguments.rounds) > 0):
        parser.error("ROUNDS is a number of at least 1")
    is_quick = arguments.quick in {"1", "yes", "true"}
    children.handle_stop_signals()

    def with_rounds(size: Size) -> Size:
        return replace(size, rounds=int(arguments.rounds)) if arguments.rounds else size

    def run(instance: Instance) -> int:
        if arguments.against:
            size = sizes.AGAINST_QUICK if is_quick else sizes.AGAINST_FULL
            return against.run(arguments.against, with_rounds(size), instance.home, arguments.rows)
        return Bench(instance, with_rounds(sizes.QUICK if is_quick else sizes.FULL)).run()

    return own_stack.measure("bench", "bench", run)


class Bench:
    """One run: its stack, its size, and what it has measured so far."""

    def __init__(self, instance: Instance, size: Size) -> None:
        self.instance = instance
        self.size = size
        self.measured: list[Measured] = []
        self.plotted: dict[str, Any] = {}
        self.clock = stage.Clock()

    def run(self) -> int:
        """Everything; the exit code. Raises SetupError after printing the rows that were measured."""
        try:
            report = self.report()
        except BaseException:
            print(f"\n{page.printed(page.rows(self.measured))}\n", flush=True)
            raise
        page.keep(report)
        # The page and its plots show full runs alone.
        if self.size.name == sizes.FULL.name:
            page.write(report)
            page.draw(report)
        return conclude(report)

    def report(self) -> Report:
        self.clock.say("Starting a fresh MariaDB stack …")
        with own_stack.running(self.instance, **stage.SETTINGS):
            self.clock.say(f"Seeding {self.size.users:,} accounts and {sizes.PRODUCTS:,} products …")
            self.measure(stage.seeded(self.instance, self.size))
            found = stage.circumstances(self.instance, load_before=self.clock.load_before)
        return page.report(self.size, self.measured, found | self.plotted | {"seconds": self.clock.seconds})

    def measure(self, here: Stage) -> None:
        """Every row, and the steps for the plots."""
        say = self.clock.say
        say("Issuing without HTTP …")
        # First, while the web processes have no connections to the database yet.
        self.measured.append(beside.issuing(here))
        # The first request of each thread opens its connection.
        loads.coupons(here, seconds=WARM_UP_SECONDS)
        coupons = here.count(beside.COUPONS)
        runs = list(self.rounds(here))
        self.measured += summed_up(runs)
        say("Crowds …")
        self.measured += [single(loads.LOADS[row](here)) for row in ("crowd", "buyers_1000", "hot_crowd")]
        say("Lists, and calls of staff …")
        self.measured += [single(load(here)) for load in loads.LISTS.values()]
        say(f"{self.size.connections:,} open connections …")
        self.measured.append(single(connections.measure(here)))
        say("Paid orders …")
        self.measured += [one for one in summed_up(list(self.paid(here))) if one.row in paying.LOADS]
        say("Limits …")
        self.measured.append(beside.limits(here))
        say("More and more buyers …")
        self.plotted["buyers"], buyers = beside.by_buyers(here)
        self.measured.append(buyers)
        self.plotted["tables"], growth = beside.by_table(here, beside.step(coupons, runs), say)
        self.measured += [growth, beside.memory(self.instance)]
        say(f"{self.size.waiting:,} buyers who wait …")
        self.measured.append(waiting.row(waiting.measure(here)))
        self.measured += sales.measure(here, say)
        say("Calls by an API key …")
        self.measured.append(key_calls.measure(here))
        say("Auditing …")
        self.measured.append(beside.audit(here))

    def rounds(self, here: Stage) -> Iterator[Run]:
        """Null beside all that is compared with it: the other load of the machine changes within seconds."""
        for number in range(1, self.size.rounds + 1):
            self.clock.say(f"Round {number} of {self.size.rounds}, {self.size.seconds} s a row …")
            yield loads.null(here)
            coupons = loads.coupons(here)
            yield coupons
            yield loads.LOADS["pessimistic"](here)
            yield loads.null(here)
            yield loads.sold_out(here)
            yield loads.null(here)
            yield loads.same_again(here, coupons)
            for row in ("orders", "hot_orders"):
                yield loads.null(here)
                yield loads.LOADS[row](here)
            yield loads.null(here)
            yield loads.coupon_orders(here)
            yield loads.shared_orders(here)
            yield loads.null(here)

    def paid(self, here: Stage) -> Iterator[Run]:
        """Both bodies, by buyers that wait and by others, with null before and after each."""
        yield loads.null(here)
        for load in paying.LOADS.values():
            yield paying.measure(here, load)
            yield loads.null(here)


def conclude(report: Report) -> int:
    """Print the table and the failures; the exit code."""
    text = f"{page.printed(report['rows'])}\n\n{page.circumstances(report)}"
    if report["size"]["name"] == sizes.QUICK.name:
        text += f"\n{NOISY}"
    return page.conclude(text, page.failures(report["rows"]))


if __name__ == "__main__":
    sys.exit(main())
