"""`make feed-cost`: what the event feed costs an order, and how far it is behind 10,000 events a second.

A stack of its own with one web process, whose thread sequences. Orders are placed without HTTP by a process
beside it, in turns with and without their events; then threads write events at a rate, and a reader follows.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from statistics import median

from scripts.bench import commits, sizes, stage
from scripts.bench.stage import Clock
from scripts.stack import SetupError, own_stack, places
from scripts.stack.instance import Instance

USERS = 30_000
LOAD_SECONDS = 900


def main() -> int:
    parser = argparse.ArgumentParser(prog="make feed-cost", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", default="", help="how often orders are measured each way (6)")
    parser.add_argument("--seconds", default="", help="of each measurement (5)")
    parser.add_argument("--rate", default="", help="events a second (10000)")
    asked = parser.parse_args()
    return own_stack.measure("feed-cost", "feed-cost", lambda instance: _run(instance, asked))


def _run(instance: Instance, asked: argparse.Namespace) -> int:
    """Measure and print; the exit code."""
    clock = Clock()
    with own_stack.running(instance, **stage.SETTINGS | own_stack.NO_RATES | {"WEB_WORKERS": "1"}):
        here = stage.seeded(instance, replace(sizes.QUICK, users=USERS))
        users = f"{here.staff.users[0]['id']}:{here.staff.users[-1]['id']}"
        command = [sys.executable, "-m", "scripts.bench.costs.feed_load", "--users", users]
        command += ["--product", str(here.product_ids[0]), "--rounds", asked.rounds or "6"]
        command += ["--seconds", asked.seconds or "5", "--rate", asked.rate or "10000"]
        ran = subprocess.run(
            command,
            cwd=places.PROJECT,
            env=dict(here.environment),
            stdout=subprocess.PIPE,
            text=True,
            timeout=LOAD_SECONDS,
            check=False,
        )
        if ran.returncode != 0:
            raise SetupError(f"the load ended with {ran.returncode}")
        print(f"commit {commits.current()}", stage.circumstances(instance, load_before=clock.load_before))
        found = json.loads(ran.stdout)
        _print_orders(found["orders"])
        print(_events_line(found["events"]))
    return 0 if found["events"]["missing"] == 0 else 1


def _print_orders(rounds: list[dict[str, dict[str, float]]]) -> None:
    """The median of each figure, with its lowest and highest: other work on the machine shows there."""
    print(
        "| | orders/s | µs Python | µs database | lock waits |", "| --- | --- | --- | --- | --- |", sep="\n"
    )
    for way in ("with events", "without"):
        cells = []
        for name in ("per_second", "python", "database", "lock_waits"):
            values = sorted(one[way][name] for one in rounds)
            cells.append(f"{median(values):,.0f} ({values[0]:,.0f} to {values[-1]:,.0f})")
        print(f"| {way}, median of {len(rounds)} | " + " | ".join(cells) + " |")


def _events_line(events: dict[str, float]) -> str:
    return (
        f"{events['written']:,.0f} events in {events['seconds']:.1f} s, "
        f"{events['per_second']:,.0f} a second: "
        f"positions are behind the commit by {events['lag_p50_ms']:,.0f} ms (median), "
        f"{events['lag_max_ms']:,.0f} ms at most; the reader got {events['read']:,.0f}, "
        f"{events['missing']:,.0f} are missing, each once: {bool(events['each_once'])}"
    )


if __name__ == "__main__":
    sys.exit(main())
