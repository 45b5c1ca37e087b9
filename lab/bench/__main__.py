"""`make bench`: what the shop does a second on a fresh MariaDB stack, beside what it does doing nothing.

It fails when coupons slow down as the table fills, a law is broken, a request isn't answered as it should
be, or the shop counts otherwise than its callers.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from lab.bench import against, sizes, stage
from lab.bench.load import Measured, Run, single, summed_up
from lab.bench.report import page
from lab.bench.report.page import Report
from lab.bench.rows import COMPARED, ROWS, WAITING, choose
from lab.bench.sizes import Size
from lab.bench.stage import Stage
from lab.bench.workloads import beside, connections, key_calls, loads, operators, paying, sales, waiting
from scripts.stack import SetupError, children, own_stack
from scripts.stack.instance import Instance

WARM_UP_SECONDS = 2
ROUNDS = (
    *("null", "coupon", "pessimistic", "sold_out", "same_again", "orders", "hot_orders"),
    *("coupon_orders", "shared_orders"),
)
"""The rows of a round."""
CROWDS = ("crowd", "buyers_1000", "hot_crowd")
NOISY = "This was a quick run: its ratios are noisy, and one that is just missed may be met by `make bench`."


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the shop on MariaDB.")
    parser.add_argument("--quick", default="", help="1: two minutes instead of twenty")
    parser.add_argument("--against", default="", help="a commit: the loads beside those of that one")
    parser.add_argument("--rows", default="", help="only these rows, separated by commas")
    parser.add_argument("--rounds", default="", help="how often each row is measured that has rounds")
    arguments = parser.parse_args()
    try:
        rows = choose(arguments.rows, of=COMPARED if arguments.against else list(ROWS))
    except SetupError as error:
        parser.error(str(error))
    if arguments.rounds and not (arguments.rounds.isdecimal() and int(arguments.rounds) > 0):
        parser.error("ROUNDS is a number of at least 1")
    is_quick = arguments.quick in {"1", "yes", "true"}
    children.handle_stop_signals()

    def with_rounds(size: Size) -> Size:
        return replace(size, rounds=int(arguments.rounds)) if arguments.rounds else size

    def run(instance: Instance) -> int:
        if arguments.against:
            size = sizes.AGAINST_QUICK if is_quick else sizes.AGAINST_FULL
            return against.run(arguments.against, with_rounds(size), instance.home, rows)
        return Bench(instance, with_rounds(sizes.QUICK if is_quick else sizes.FULL), rows).run()

    return own_stack.measure("bench", "bench", run)


class Bench:
    """One run: its stack, its size and rows, and what it has measured so far."""

    def __init__(self, instance: Instance, size: Size, rows: Sequence[str] = tuple(ROWS)) -> None:
        self.instance = instance
        self.size = size
        self.rows = frozenset(rows)
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
        if self.rows == ROWS.keys():
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
        say, size, part = self.clock.say, self.size, self.part
        # First, while the web processes have no connections to the database yet.
        part("Without HTTP …", ["alone"], lambda: [beside.issuing(here)])
        part("Without HTTP …", ["orders_alone"], lambda: [beside.ordering(here)])
        # The first request of each thread opens its connection.
        loads.coupons(here, seconds=WARM_UP_SECONDS)
        coupons = here.count(beside.COUPONS)
        runs: list[Run] = []

        def rounds() -> list[Measured]:
            runs.extend(self.rounds(here))
            return summed_up(runs)

        def crowds() -> list[Measured]:
            return [single(loads.LOADS[row](here)) for row in CROWDS]

        def lists() -> list[Measured]:
            return [single(load(here)) for load in loads.LISTS.values()]

        def paid() -> list[Measured]:
            return [one for one in summed_up(list(self.paid(here))) if one.row in paying.LOADS]

        def buyers() -> list[Measured]:
            self.plotted["buyers"], measured = beside.by_buyers(here)
            return [measured]

        def growth() -> list[Measured]:
            self.plotted["tables"], measured = beside.by_table(here, beside.step(coupons, runs), say)
            return [measured]

        part(f"{size.rounds} rounds …", [*ROUNDS, "growth"], rounds)
        part("Crowds …", CROWDS, crowds)
        part("Lists, and calls of staff …", loads.LISTS, lists)
        part(
            f"{size.connections:,} open connections …",
            ["connections"],
            lambda: [single(connections.measure(here))],
        )
        part("Paid orders …", paying.LOADS, paid)
        part("Limits …", ["limits"], lambda: [beside.limits(here)])
        part("Events and webhooks …", ["events", "webhooks"], lambda: beside.feed(here))
        part("More and more buyers …", ["buyers"], buyers)
        part("Full tables …", ["growth"], growth)
        part("Memory …", ["memory"], lambda: [beside.memory(self.instance)])
        part("The board and pages of operators …", ["board", "staff_pages"], lambda: operators.measure(here))
        part(f"{size.waiting:,} buyers who wait …", [WAITING], lambda: [waiting.row(waiting.measure(here))])
        part("Sales …", sales.ROWS, lambda: sales.measure(here, say))
        part("Calls by an API key …", [key_calls.ROW], lambda: [key_calls.measure(here)])
        self.clock.say("Auditing …")
        self.measured.append(beside.audit(here))

    def part(self, text: str, rows: Iterable[str], measure: Callable[[], list[Measured]]) -> None:
        """Measure rows that go together, if one of them is asked for."""
        if not self.rows.isdisjoint(rows):
            self.clock.say(text)
            self.measured += measure()

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
