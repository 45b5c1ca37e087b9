"""`make scale-measure`: the inputs of the simulation, and points to check it by, from a real MariaDB stack.

Writes docs/scale.json; `make scale` computes docs/scale.md from that. Takes about five minutes.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from scripts.bench import sizes, stage
from scripts.bench.report import documents
from scripts.bench.stage import Stage
from scripts.scale import calibration, costs, probe, results
from scripts.scale.results import COUPON, KINDS, Inputs, Measurement, Point
from scripts.stack import SetupError, children, own_stack, places
from scripts.stack.instance import Instance


@dataclass(frozen=True)
class Size:
    """How much is measured: accounts, the requests at once of the runs from which the costs are
    computed, and the numbers of processes of the points."""

    users: int
    waiting: Sequence[int]
    processes: Sequence[int]


FULL = Size(30_000, (1, 8, 32, 64, 128, 256), (1, 2, 3, 4))
QUICK = Size(12_000, (1, 64, 256), (1, 2))
LATENCIES = (0.0, 0.005, 0.020)
WAITING = 64
"""Requests under way in each process where points are measured."""
SECONDS = 2.0
PATIENCE_SECONDS = 300


def main() -> int:
    parser = argparse.ArgumentParser(prog="make scale-measure", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="`costs` or `points`: the rest stays as it was measured")
    parser.add_argument("--quick", default="", help="1: fewer sizes and processes")
    asked = parser.parse_args()
    if asked.only not in ("", "costs", "points"):
        parser.error("ONLY is costs or points")
    size = QUICK if asked.quick in {"1", "yes", "true"} else FULL
    children.handle_stop_signals()
    return own_stack.measure("scale-measure", "scale", lambda instance: _run(instance, size, asked.only))


def _run(instance: Instance, size: Size, only: str) -> int:
    clock = stage.Clock()
    kept = results.read() if only else None
    clock.say("Starting a fresh MariaDB stack …")
    with own_stack.running(instance, **stage.SETTINGS):
        clock.say(f"Seeding {size.users:,} accounts …")
        here = stage.seeded(instance, replace(sizes.FULL, users=size.users))
        found = stage.circumstances(instance, load_before=clock.load_before)
        if kept and only == "costs":
            inputs, points = kept.inputs, list(kept.points)
        else:
            inputs = _measure_inputs(here, size, clock)
            points = list(_measure_points(here, size, clock))
        spent = kept.costs if kept and only == "points" else costs.measure(here, clock.say)
    measured = Measurement(
        measured_at=documents.now(),
        commit=found["commit"],
        circumstances=found["circumstances"],
        inputs=inputs,
        points=points,
        costs=spent,
    )
    results.write(measured)
    print(f"{results.FILE} is written; `make scale` computes docs/scale.md from it.", flush=True)
    return 0


def _measure_inputs(here: Stage, size: Size, clock: stage.Clock) -> Inputs:
    """The runs of each kind by one process, with more and more requests at once."""
    clock.say("A commit, and the hand-over of a row's lock …")
    with probe.table(here.instance):
        commit, handover = probe.commit_seconds(here.instance), probe.handover_seconds(here.instance)
    runs = {}
    for kind in KINDS:
        clock.say(f"{kind}: batches of different sizes …")
        runs[kind] = drive(here, kind, processes=1, loads=[(waiting, 0.0) for waiting in size.waiting])
    return Inputs(commit=commit, handover=handover, runs=runs)


def _measure_points(here: Stage, size: Size, clock: stage.Clock) -> Iterator[Point]:
    for kind, processes in product(KINDS, size.processes):
        clock.say(f"{kind}: {processes} of {size.processes[-1]} processes …")
        loads = [(WAITING, latency) for latency in LATENCIES]
        for latency, run in zip(LATENCIES, drive(here, kind, processes=processes, loads=loads), strict=True):
            yield Point(
                kind=kind,
                processes=processes,
                waiting=WAITING,
                latency=latency,
                per_second=run["per_second"],
                per_batch=run["per_batch"],
            )


def drive(
    here: Stage, kind: str, *, processes: int, loads: Sequence[tuple[int, float]]
) -> Sequence[calibration.Run]:
    """Runs of `scripts.scale.driver`, each with so many requests at once and that added latency.

    Coupons are of a new campaign in each run, orders of the same product. Raises SetupError.
    """
    ids = [user["id"] for user in here.staff.users]
    words = [kind, "--users", f"{min(ids)}:{max(ids)}", "--seconds", SECONDS, "--processes", processes]
    for waiting, latency in loads:
        row = here.campaign("scale") if kind == COUPON else here.product_ids[0]
        words.append(f"{row}:{waiting}:{latency * 1000:g}")
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.scale.driver", *map(str, words)],
        cwd=places.PROJECT,
        env=here.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if ran.returncode != 0:
        raise SetupError(f"the driver ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    runs: list[calibration.Run] = json.loads(ran.stdout.splitlines()[-1])
    if refused := sum(run["refused"] for run in runs):
        raise SetupError(f"{refused:.0f} requests of kind {kind} were refused")
    return runs


if __name__ == "__main__":
    sys.exit(main())
