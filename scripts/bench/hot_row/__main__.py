"""`make hot-row`: lock waits, processor time and throughput of one hot row, by number of processes.

A stack of its own; the web processes are driven without HTTP, so that the machine's cores decide less.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from scripts.bench import commits, sizes, stage
from scripts.bench.stage import Clock, Stage
from scripts.stack import SetupError, own_stack, places
from scripts.stack.instance import Instance

PROCESSES = (1, 2, 4, 8, 16)
LATENCIES_MS = (1, 5, 20)
WHAT = ("coupons", "orders")
WAITING = 256
"""Requests at once, over all processes."""
SECONDS = 2.0
USERS = 30_000
"""More than one load issues: every request is another account's."""
ALL_LOADS_SECONDS = 900
OWN, HANDED_OVER, ROWS_APART = WAYS = "own batches", "handed over", "rows apart"
"""Each process decides its own batches; all hand them over to one; or the product is a row for each process,
which is the best that taking its row apart could bring: no order has to look at a second row."""
COLUMNS = (
    ("done/s", "per_second"),
    ("p50 ms", "p50_ms"),
    ("p95 ms", "p95_ms"),
    ("commits", "commits"),
    ("lock waits", "lock_waits"),
    ("ms each", "lock_wait_ms"),
    ("waiting at once", "lock_waiting_share"),
    ("µs Python", "python_microseconds"),
    ("busiest", "busiest_process"),
    ("µs database", "database_microseconds"),
    ("µs Redis", "redis_microseconds"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make hot-row", description=__doc__.splitlines()[0])
    parser.add_argument("--what", default="", help=f"{' and '.join(WHAT)}, separated by commas")
    parser.add_argument("--processes", default="", help="numbers of web processes, separated by commas")
    parser.add_argument("--latencies", default="", help="of a commit, in ms, separated by commas")
    parser.add_argument("--ways", default="", help=f"{', '.join(WAYS)}, separated by commas")
    parser.add_argument("--seconds", default="", help=f"of each load ({SECONDS})")
    parser.add_argument("--waiting", default="", help=f"requests at once ({WAITING})")
    asked = parser.parse_args()
    return own_stack.measure("hot-row", "hot-row", lambda instance: _run(instance, asked))


def _run(instance: Instance, asked: argparse.Namespace) -> int:
    """Measure and print; the exit code."""
    clock = Clock()
    with own_stack.running(instance, **stage.SETTINGS | own_stack.NO_RATES | {"WEB_WORKERS": "1"}):
        here = stage.seeded(instance, replace(sizes.QUICK, users=USERS))
        loads = list(_loads(here, asked))
        clock.say(f"{len(loads)} loads")
        print(f"commit {commits.current()}", stage.circumstances(instance, load_before=clock.load_before))
        print("| what | ms | processes | way | " + " | ".join(title for title, _ in COLUMNS) + " |")
        print("| --- " * (len(COLUMNS) + 4) + "|")
        refused = 0
        for found in _measured(here, loads):
            cells = [found["what"], found["latency_ms"], found["processes"], found["way"]]
            cells += [found[name] for _, name in COLUMNS]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            if set(found["outcomes"]) != {"done"}:
                refused += 1
                print(f"outcomes: {found['outcomes']}")
        broken = [law for law in own_stack.audit(instance) if not law["holds"]]
        print(f"broken laws: {broken}" if broken else "every law holds")
        clock.say("done")
    return 1 if broken or refused else 0


def _loads(here: Stage, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every load: each has a campaign of its own, and orders have the first products."""
    for latency, processes, what, way in product(
        _numbers(asked.latencies) or LATENCIES_MS,
        _numbers(asked.processes) or PROCESSES,
        asked.what.split(",") if asked.what else WHAT,
        asked.ways.split(",") if asked.ways else WAYS,
    ):
        if way == ROWS_APART and (what == "coupons" or processes == 1):
            continue
        name = f"hot row {processes} {latency} {way}"
        yield {
            "what": what,
            "rows": here.product_ids[: processes if way == ROWS_APART else 1]
            if what == "orders"
            else [here.campaign(name)],
            "processes": processes,
            "way": way,
            "is_handed_over": way == HANDED_OVER,
            "latency_ms": latency,
            "seconds": float(asked.seconds or SECONDS),
            "waiting": int(asked.waiting or WAITING),
        }


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _measured(here: Stage, loads: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What each load measured, as soon as it is over. Raises SetupError."""
    users = f"{here.staff.users[0]['id']}:{here.staff.users[-1]['id']}"
    file = here.staff.write("hot-row", loads)
    command = [sys.executable, "-m", "scripts.bench.hot_row.nodes", "--users", users, "--loads", str(file)]
    child = subprocess.Popen(
        command, cwd=places.PROJECT, env=dict(here.environment), stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout
        for line in child.stdout:
            yield json.loads(line)
        if child.wait(timeout=ALL_LOADS_SECONDS) != 0:
            raise SetupError(f"the processes ended with {child.returncode}")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


if __name__ == "__main__":
    sys.exit(main())
