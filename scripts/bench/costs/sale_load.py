"""`make sale-load`: the rows of `make bench` about a sale with a waiting room, without its others.

50,000 accounts join a sale and poll their entries while they are admitted, and others order under admission.
It ends with 1 when a ratio misses its goal, or an answer is not the expected one.
"""

import argparse
import sys
from dataclasses import replace

from scripts.bench import sizes, stage, watching
from scripts.bench.report import page
from scripts.bench.workloads import beside, loads, sales
from scripts.stack import own_stack
from scripts.stack.instance import Instance

ACCOUNTS = 50_000
WARM_UP_SECONDS = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sale-load", description=__doc__.splitlines()[2])
    parser.add_argument("--accounts", default="", help=f"how many join ({ACCOUNTS:,})")
    parser.add_argument("--rounds", default="", help=f"of polls, and of orders ({sizes.FULL.rounds})")
    arguments = parser.parse_args()
    accounts, rounds = arguments.accounts or str(ACCOUNTS), arguments.rounds or str(sizes.FULL.rounds)
    for name, given, least in (("ACCOUNTS", accounts, 2_000), ("ROUNDS", rounds, 1)):
        if not given.isdecimal() or int(given) < least:
            parser.error(f"{name} is a number of at least {least}")
    size = replace(sizes.FULL, users=int(accounts), rounds=int(rounds))
    return own_stack.measure("sale-load", "sale-load", lambda instance: _run(instance, size))


def _run(instance: Instance, size: sizes.Size) -> int:
    """Measure and print; the exit code."""
    clock = stage.Clock()
    clock.say("Starting a fresh MariaDB stack …")
    with own_stack.running(instance, **stage.SETTINGS):
        clock.say(f"Seeding {size.users:,} accounts …")
        here = stage.seeded(instance, size)
        watching.pin_web_processes(instance)
        loads.coupons(here, seconds=WARM_UP_SECONDS)
        measured = [*sales.measure(here, clock.say), beside.audit(here)]
    rows = page.rows(measured)
    text = f"{page.printed(rows)}\n\nload average {clock.load_before:.1f} before; {clock.seconds} s in all"
    return page.conclude(text, page.failures(rows))


if __name__ == "__main__":
    sys.exit(main())
