"""`make bench AGAINST=<commit>`: the loads of this commit beside those of another one, in one run.

Both stacks stay up, each run by its own code on ports, state and a MariaDB of its own. Loads and measuring
code are this commit's for both. Rounds alternate between the stacks: only one is under load at a time, and
the next load starts only after the backlog of the one before is worked off.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from lab.bench import commits, sizes, stage, watching
from lab.bench.commits import Commit
from lab.bench.load import Run
from lab.bench.report import comparison, documents, page
from lab.bench.report.comparison import OTHER, THIS, Round
from lab.bench.report.page import Report
from lab.bench.rows import COMPARED, PEAK, PROCESSOR, WAITING
from lab.bench.sizes import Size
from lab.bench.stage import Stage
from lab.bench.workloads import connections, loads, paying, waiting
from scripts.stack import (
    SetupError,
    database,
    instance as instances,
    own_stack,
    places,
    ports,
    process_identity,
)
from scripts.stack.instance import Instance

WARM_UP_SECONDS = 2
"""The first request of each thread opens its connection."""
LOADS: Mapping[str, Callable[[Stage], Run]] = {
    **loads.LOADS,
    "connections": connections.measure,
    **{row: partial(paying.measure, load=load) for row, load in paying.LOADS.items()},
    WAITING: waiting.measure,
}


class Comparison:
    """One run: both stacks, and the rounds measured so far."""

    def __init__(self, commit: Commit, size: Size, home: Path, rows: Sequence[str] = COMPARED) -> None:
        self.commit = commit
        self.size = size
        self.rows = rows
        self.home = home
        self.rounds: list[Round] = []
        self.clock = stage.Clock()

    def run(self) -> int:
        """Measure, write the results of all rows, print them; the exit code. Raises SetupError after printing
        the rounds that were measured."""
        try:
            report = self.report()
        except BaseException:
            print(f"\n{comparison.printed(comparison.rows(self.rounds))}\n", flush=True)
            raise
        if list(self.rows) == COMPARED:
            page.keep(report, file=page.AGAINST_FILE)
            if self.size.name == sizes.FULL.name:
                page.write_against(report)
        table, circumstances = comparison.printed(report["rows"]), page.circumstances(report)
        text = f"{table}\n\n{circumstances}\n{page.FIGURES_LEGEND.rstrip()}"
        return page.conclude(text, comparison.failures(report["rows"]))

    def report(self) -> Report:
        self.clock.say(f"Checking out {self.commit.name} ({self.commit.short}) …")
        with (
            commits.checked_out(self.commit, self.home / "checkout") as folder,
            self.running("the stack of this commit", THIS, places.PROJECT) as mine,
            self.running(f"the stack of {self.commit.short}", OTHER, folder) as theirs,
        ):
            self.measure(mine, theirs)
            found = stage.circumstances(mine.instance, load_before=self.clock.load_before)
        return {
            "measured_at": documents.now(),
            **found,
            "is_changed": commits.is_changed(),
            "against": {"commit": self.commit.short, "name": self.commit.name},
            "seconds": self.clock.seconds,
            "size": asdict(self.size),
            "rows": comparison.rows(self.rounds),
        }

    def instance(self, side: str, project: Path) -> Instance:
        """An instance of that code with a folder of its own, on ports that are free now."""
        home = places.private_folder(self.home / side)
        port = str(ports.free(instances.PORTS))
        return instances.choose(home=home, port=port, database="mariadb", project=project)

    @contextmanager
    def running(self, name: str, side: str, project: Path) -> Iterator[Stage]:
        """A stack of that code, seeded and warm, until the block ends."""
        self.clock.say(f"Starting and seeding {name} …")
        with ExitStack() as opened:
            try:
                here = opened.enter_context(warm(self.instance(side, project), self.size))
            except SetupError as error:
                raise SetupError(f"{name} doesn't start: {_reason(error)}") from error
            yield here

    def measure(self, mine: Stage, theirs: Stage) -> None:
        """The rounds of all rows but `waiting`, which is measured once, after the others."""
        several = [row for row in self.rows if row != WAITING]
        for number in range(1, self.size.rounds + 1 if several else 1):
            self.clock.say(f"Round {number} of {self.size.rounds} …")
            for row in several:
                self.measure_row(row, mine, theirs, other_first=number % 2 == 0)
        if WAITING in self.rows:
            self.clock.say(f"{self.size.waiting:,} buyers who wait …")
            self.measure_row(WAITING, mine, theirs)

    def measure_row(self, row: str, mine: Stage, theirs: Stage, *, other_first: bool = False) -> None:
        """The row on both stacks. The order changes from round to round, so that a drift of the machine
        favours neither."""
        both = {THIS: mine, OTHER: theirs}
        order = (OTHER, THIS) if other_first else (THIS, OTHER)
        runs = {side: measure_alone(both[side], row, [mine, theirs]) for side in order}
        self.rounds.append(Round(**runs))
        self.clock.say(comparison.progress(self.rounds[-1]))


@contextmanager
def warm(instance: Instance, size: Size) -> Iterator[Stage]:
    """A stack that is seeded and warm, each web process on a processor of its own. Raises SetupError."""
    with own_stack.running(instance, **stage.SETTINGS):
        here = stage.seeded(instance, size)
        watching.pin_web_processes(instance)
        loads.coupons(here, seconds=WARM_UP_SECONDS)
        warm_up = replace(size, paid_seconds=WARM_UP_SECONDS)
        paying.measure(replace(here, size=warm_up), paying.LOADS["paid_card"])
        yield here


def measure_alone(here: Stage, row: str, stages: Sequence[Stage]) -> Run:
    """Run the load once none of these stacks has anything left of an earlier one."""
    findings = []
    for one in stages:
        database.wait_until_worked_off(one.instance)
        events, sagas = database.left(one.instance)
        if events + sagas > database.FEW:
            findings.append(f"{row}: began beside a backlog of {events} events and {sagas} sagas")
    web = process_identity.group_of(here.instance.run, "web")
    watching.forget_peaks(web)
    run = LOADS[row](here)
    spent = run.figures.microseconds
    processor = sum(spent[name] for name in watching.PROCESSES if name in spent)
    cost = {PEAK: watching.peak_mib(web), PROCESSOR: processor}
    return replace(run, findings=[*findings, *run.findings], others={**run.others, **cost})


def run(name: str, size: Size, home: Path, rows: Sequence[str] = COMPARED) -> int:
    """Compare with the commit of that name; the exit code. A failure is reported in one line."""
    try:
        return Comparison(commits.find(name), size, home, rows).run()
    except (SetupError, OSError) as error:
        print(f"bench: failed: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
        return 1


def _reason(error: SetupError) -> str:
    """The last line of the log that the error shows, before make's own line."""
    return [line for line in str(error).splitlines() if line.strip() and not line.startswith("make")][-1]
