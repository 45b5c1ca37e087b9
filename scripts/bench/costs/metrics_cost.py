"""`make metrics-cost`: the processor time that metrics cost a web process for a coupon.

Two stacks of this commit, one of which counts nothing, take turns at the same load. The stack that starts
first is some percent slower, which is as much as metrics may cost: after half of the rounds both are started
anew in the other order.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from scripts.bench import against, commits, sizes
from scripts.bench.load import Run
from scripts.bench.stage import Stage
from scripts.stack import SetupError, own_stack, places, ports, readiness
from scripts.stack import instance as instances
from scripts.stack.instance import Instance

ROUNDS, SECONDS = 10, 6
GOAL_MICROSECONDS = 14
COUNTING, SILENT = "counting", "silent"
SETTINGS: Mapping[str, Mapping[str, str]] = {
    COUNTING: {},
    SILENT: {"PYTHONPATH": str(Path(__file__).with_name("without_metrics"))},
}
"""Of each of the two stacks."""
REQUESTS = re.compile(r"^django_http_responses_total_by_status_view_method_total\{.*$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make metrics-cost", description=__doc__.splitlines()[2])
    parser.add_argument("--rounds", default="", help=f"how often the load is measured on each ({ROUNDS})")
    rounds = parser.parse_args().rounds or str(ROUNDS)
    if not rounds.isdecimal() or int(rounds) < 2:
        parser.error("ROUNDS is a number of at least 2")
    return own_stack.measure("metrics-cost", "metrics-cost", lambda instance: _run(instance, int(rounds)))


def _run(instance: Instance, rounds: int) -> int:
    """Measure and print; the exit code."""
    first = rounds // 2
    costs, findings = [], []
    for order, count in (((COUNTING, SILENT), first), ((SILENT, COUNTING), rounds - first)):
        for runs in _rounds(instance.home, order, count):
            web = {name: run.figures.microseconds["web"] for name, run in runs.items()}
            findings += [finding for run in runs.values() for finding in run.findings]
            costs.append(web[COUNTING] - web[SILENT])
            print(f"{web[COUNTING]:.0f} µs of web a coupon, {web[SILENT]:.0f} without: {costs[-1]:+.1f}")
    print(summary(costs, commit=commits.current()), *findings, sep="\n")
    return 1 if findings or median(costs) > GOAL_MICROSECONDS else 0


def summary(costs: Sequence[float], *, commit: str) -> str:
    """The cost in a line: the median of the rounds' differences, with their spread."""
    ordered = sorted(costs)
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return (
        f"metrics cost {median(costs):.1f} µs of a web process's processor a coupon at {commit}: "
        f"{len(costs)} rounds from {ordered[0]:.1f} to {ordered[-1]:.1f}, the middle half from "
        f"{middle[0]:.1f} to {middle[-1]:.1f}; the goal is at most {GOAL_MICROSECONDS}"
    )


def _rounds(home: Path, order: Sequence[str], count: int) -> Iterator[Mapping[str, Run]]:
    """Both stacks started in this order, and that many rounds of coupons, in which they take turns at being
    the first."""
    size = replace(sizes.FULL, seconds=SECONDS)
    with ExitStack() as opened:
        stages: dict[str, Stage] = {}
        for name in order:
            instance = _instance(home / f"{name}-{order.index(name)}")
            stages[name] = opened.enter_context(against.warm(instance, size, **SETTINGS[name]))
            _require_counting(instance, is_wanted=name == COUNTING)
        for number in range(count):
            turns = order if number % 2 == 0 else order[::-1]
            yield {name: against.measure_alone(stages[name], "coupon", [*stages.values()]) for name in turns}


def _require_counting(instance: Instance, *, is_wanted: bool) -> None:
    """Raise SetupError unless the stack counts its requests exactly if that is wanted."""
    _, exposition = readiness.ask(instance.port, "GET", "/metrics")
    if is_wanted != any(not line.endswith(" 0.0") for line in REQUESTS.findall(exposition)):
        raise SetupError(f"metrics are {'not ' * is_wanted}counted in {instance.home.name}")


def _instance(home: Path) -> Instance:
    port = str(ports.free(instances.PORTS))
    return instances.choose(home=places.private_folder(home), port=port, database="mariadb")


if __name__ == "__main__":
    sys.exit(main())
