"""`make bench`: what the shop does a second on a fresh MariaDB stack, beside what it does doing nothing.

It fails when a ratio of two of its loads misses its goal, a law is broken, a request isn't answered as it
should be, or the shop counts otherwise than its callers.
"""

import argparse
import sys
from collections.abc import Collection
from functools import partial
from itertools import groupby
from types import SimpleNamespace

from lab import report, stage as stages
from lab.bench import against, judging, loads
from lab.bench.parts import PARTS
from lab.bench.rows import BUDGET, COMPARED, FULL, QUICK, ROWS, SMALL, summed_up
from scripts.stack import own_stack
from scripts.stack.instance import Instance


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the shop on MariaDB.")
    parser.add_argument("--quick", default="", help="1: three minutes instead of twenty")
    parser.add_argument("--against", default="", help="a commit: the loads beside those of that one")
    parser.add_argument("--budget", default="", help="1: few rows beside the last release, by processor time")
    parser.add_argument("--rows", default="", help="only these rows, separated by commas")
    parser.add_argument("--rounds", default="", help="how often each row is measured that has rounds")
    asked = parser.parse_args()
    commit = asked.against or (stages.PREVIOUS if asked.budget else "")
    known = BUDGET if asked.budget else COMPARED if commit else [*ROWS]
    rows = asked.rows.split(",") if asked.rows else known
    if unknown := set(rows) - set(known):
        parser.error(f"ROWS={','.join(unknown)} is not measured: choose from {','.join(known)}")
    size = SMALL if asked.budget else QUICK if asked.quick else FULL
    size.rounds = int(asked.rounds or max(size.rounds, 2 if commit else 1))
    run = partial(against.run, name=commit) if commit else bench
    return own_stack.measure("bench", "bench", partial(run, size=size, rows=rows))


def bench(instance: Instance, *, size: SimpleNamespace, rows: Collection[str]) -> int:
    """These rows in their order, part by part: the memory is that of all loads before. The exit code."""
    measured = []
    with loads.running(instance, size) as here:
        wanted = (row for row in ROWS if row in {*rows, "audit"})
        for part, group in groupby(wanted, key=lambda row: ROWS[row].part):
            some = [*group]
            found = summed_up(one for one in PARTS[part](here, some) if one.row in some)
            measured += found
            for one in found:
                stages.say("; ".join(judging.cells(one)))
        circumstances = report.circumstances(instance)
    return judging.write(measured, file=judging.FILE, size=vars(size), **circumstances)


if __name__ == "__main__":
    sys.exit(main())
