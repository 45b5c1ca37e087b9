"""`make bench AGAINST=<commit>`: paid orders of this commit beside another one, in one run.

Both stacks stay up, each run by its own code on ports, state and a MariaDB of its own. Loads and measuring
code are this commit's for both. Rounds alternate between the stacks: only one is under load at a time, and
the next load starts only after the backlog of the one before is worked off.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from scripts import backlog, circumstances, machine, places, ports, stack
from scripts import instance as instances
from scripts.bench import (
    comparison,
    comparison_table,
    loads,
    other_commit,
    page,
    paying,
    pinning,
    results,
    sizes,
    stage,
)
from scripts.bench.comparison import OTHER, THIS, Round
from scripts.bench.measured import Run
from scripts.bench.other_commit import Commit
from scripts.bench.paying import PaidLoad
from scripts.bench.results import Report
from scripts.bench.sizes import Size
from scripts.bench.stage import Stage
from scripts.instance import Instance
from scripts.setup_error import SetupError

WARM_UP_SECONDS = 2
"""The first request of each thread opens its connection."""


class Comparison:
    """One run: both stacks, and the rounds measured so far."""

    def __init__(self, commit: Commit, size: Size, home: Path) -> None:
        self.commit = commit
        self.size = size
        self.home = home
        self.rounds: list[Round] = []
        self.began_at = time.monotonic()
        self.load_before = machine.load_average()

    def run(self) -> int:
        """Measure, write the results down, print them; the exit code. Raises SetupError."""
        report = self.report()
        results.write(report, file=results.AGAINST_FILE)
        if self.size.name == sizes.FULL.name:
            page.write_against(report)
        return conclude(report)

    def report(self) -> Report:
        self.say(f"Checking out {self.commit.name} ({self.commit.short}) …")
        with other_commit.checked_out(self.commit, self.home / "checkout") as folder:
            this, other = self.instances(folder)
            with (
                self.running("the stack of this commit", this) as mine,
                self.running(f"the stack of {self.commit.short}", other) as theirs,
            ):
                for number in range(1, self.size.rounds + 1):
                    self.say(f"Round {number} of {self.size.rounds} …")
                    self.measure(mine, theirs)
                found = circumstances.of(this, load_before=self.load_before)
        return {
            "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            **found,
            "is_changed": other_commit.is_changed(),
            "against": {"commit": self.commit.short, "name": self.commit.name},
            "seconds": round(time.monotonic() - self.began_at),
            "size": asdict(self.size),
            "rows": comparison.rows(self.rounds),
        }

    def instances(self, folder: Path) -> tuple[Instance, Instance]:
        """This project and the checkout, each with ports and a folder of its own."""
        first = ports.free(2 * instances.PORTS)
        this = self.instance(THIS, first, places.PROJECT)
        return this, self.instance(OTHER, first + instances.PORTS, folder)

    def instance(self, name: str, port: int, project: Path) -> Instance:
        home = places.private_folder(self.home / name)
        return instances.choose(home=home, port=str(port), database="mariadb", project=project)

    @contextmanager
    def running(self, name: str, instance: Instance) -> Iterator[Stage]:
        """That stack, seeded and warm, until the block ends."""
        self.say(f"Starting and seeding {name} …")
        with ExitStack() as opened:
            try:
                opened.enter_context(stack.running(instance, **stage.SETTINGS))
                here = stage.seeded(instance, self.size)
            except SetupError as error:
                raise SetupError(f"{name} doesn't start: {_last_line(error)}") from error
            pinning.pin_web_processes(instance)
            loads.coupons(here, seconds=WARM_UP_SECONDS)
            warm_up = replace(self.size, paid_seconds=WARM_UP_SECONDS)
            paying.measure(replace(here, size=warm_up), paying.LOADS["paid_card"])
            yield here

    def measure(self, mine: Stage, theirs: Stage) -> None:
        """A round: each load on this stack, then on the other."""
        for load in paying.LOADS.values():
            this, other = (measure_alone(here, load, before=[mine, theirs]) for here in (mine, theirs))
            self.rounds.append(Round(this=this, other=other))
            self.say(comparison.progress(self.rounds[-1]))

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began_at:5.0f} s  {text}", flush=True)


def measure_alone(here: Stage, load: PaidLoad, *, before: Sequence[Stage]) -> Run:
    """Run the load once none of these stacks has anything left of an earlier one."""
    findings = []
    for one in before:
        backlog.wait_until_worked_off(one.instance)
        events, sagas = backlog.left(one.instance)
        if events + sagas > backlog.FEW:
            findings.append(f"{load.row}: began beside a backlog of {events} events and {sagas} sagas")
    run = paying.measure(here, load)
    return replace(run, findings=[*findings, *run.findings])


def run(name: str, size: Size, home: Path) -> int:
    """Compare with the commit of that name; the exit code. What can't be done is reported in one line."""
    try:
        return Comparison(other_commit.find(name), size, home).run()
    except (SetupError, OSError) as error:
        print(f"bench: failed: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
        return 1


def conclude(report: Report) -> int:
    """Print the table and what is wrong; the exit code."""
    print(f"\n{comparison_table.printed(report['rows'])}\n\n{page.against_circumstances(report)}")
    failures = comparison.failures(report["rows"])
    for failure in failures:
        print(f"bench: FAILED {failure}", file=sys.stderr, flush=True)
    return 1 if failures else 0


def _last_line(error: SetupError) -> str:
    """The end of the log that the error shows: there the reason stands."""
    return [line for line in str(error).splitlines() if line.strip()][-1]
