"""`make bench AGAINST=<commit>`: the loads of this commit beside those of another one, in one run.

Both stacks stay up, each run by its own code on ports, state and a MariaDB of its own. Loads and measuring
code are this commit's for both. Rounds alternate between the stacks: only one is under load at a time, and
the next load starts only after the backlog of the one before is worked off.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from scripts.bench import (
    comparison,
    connections,
    loads,
    page,
    paying,
    sizes,
    stage,
    waiting,
    watching,
)
from scripts.bench.comparison import OTHER, THIS, Round
from scripts.bench.load import Run
from scripts.bench.page import Report
from scripts.bench.rows import COMPARED, PEAK, PROCESSOR, WAITING
from scripts.bench.sizes import Size
from scripts.bench.stage import Stage
from scripts.stack import SetupError, database, own_stack, places, ports, process_identity
from scripts.stack import instance as instances
from scripts.stack.instance import Instance

GIT_SECONDS, BOOTSTRAP_SECONDS = 120, 900
BOOTSTRAP = Path("scripts") / "bootstrap.py"
WARM_UP_SECONDS = 2
"""The first request of each thread opens its connection."""
LOADS: Mapping[str, Callable[[Stage], Run]] = {
    "null": loads.null,
    "coupon": loads.coupons,
    "buyers_1000": loads.many_buyers,
    "pessimistic": loads.pessimistic,
    "sold_out": loads.sold_out,
    "same_again": loads.same_again,
    "connections": connections.measure,
    "crowd": loads.crowd,
    "orders": loads.orders,
    "hot_orders": loads.hot_orders,
    "hot_crowd": loads.hot_crowd,
    **loads.LISTS,
    **{row: partial(paying.measure, load=load) for row, load in paying.LOADS.items()},
    WAITING: waiting.measure,
}


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit by its full hash, and in the words that were asked for."""

    sha: str
    name: str

    @property
    def short(self) -> str:
        return self.sha[:7]


class Comparison:
    """One run: both stacks, and the rounds measured so far."""

    def __init__(self, commit: Commit, size: Size, home: Path, rows: Sequence[str] = COMPARED) -> None:
        self.commit = commit
        self.size = size
        self.rows = rows
        self.home = home
        self.rounds: list[Round] = []
        self.began_at = time.monotonic()
        self.load_before = os.getloadavg()[0]

    def run(self) -> int:
        """Measure, write the results of all rows down, print them; the exit code. Raises SetupError, having
        printed what was measured."""
        try:
            report = self.report()
        except BaseException:
            print(f"\n{comparison.printed(comparison.rows(self.rounds))}\n", flush=True)
            raise
        if list(self.rows) == COMPARED:
            page.keep(report, file=page.AGAINST_FILE)
            if self.size.name == sizes.FULL.name:
                page.write_against(report)
        return conclude(report)

    def report(self) -> Report:
        self.say(f"Checking out {self.commit.name} ({self.commit.short}) …")
        with (
            checked_out(self.commit, self.home / "checkout") as folder,
            self.running("the stack of this commit", THIS, places.PROJECT) as mine,
            self.running(f"the stack of {self.commit.short}", OTHER, folder) as theirs,
        ):
            self.measure(mine, theirs)
            found = stage.circumstances(mine.instance, load_before=self.load_before)
        return {
            "measured_at": page.now(),
            **found,
            "is_changed": is_changed(),
            "against": {"commit": self.commit.short, "name": self.commit.name},
            "seconds": round(time.monotonic() - self.began_at),
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
        self.say(f"Starting and seeding {name} …")
        instance = self.instance(side, project)
        with ExitStack() as opened:
            try:
                opened.enter_context(own_stack.running(instance, **stage.SETTINGS))
                here = stage.seeded(instance, self.size)
            except SetupError as error:
                raise SetupError(f"{name} doesn't start: {_last_line(error)}") from error
            watching.pin_web_processes(instance)
            loads.coupons(here, seconds=WARM_UP_SECONDS)
            warm_up = replace(self.size, paid_seconds=WARM_UP_SECONDS)
            paying.measure(replace(here, size=warm_up), paying.LOADS["paid_card"])
            yield here

    def measure(self, mine: Stage, theirs: Stage) -> None:
        """The rounds of all rows but of those who wait, which are measured once, after the others."""
        several = [row for row in self.rows if row != WAITING]
        for number in range(1, self.size.rounds + 1 if several else 1):
            self.say(f"Round {number} of {self.size.rounds} …")
            for row in several:
                self.measure_row(row, mine, theirs, other_first=number % 2 == 0)
        if WAITING in self.rows:
            self.say(f"{self.size.waiting:,} buyers who wait …")
            self.measure_row(WAITING, mine, theirs)

    def measure_row(self, row: str, mine: Stage, theirs: Stage, *, other_first: bool = False) -> None:
        """The row on both stacks. The order changes from round to round, so that a drift of the machine
        favours neither."""
        both = [mine, theirs]
        first, second = (measure_alone(here, row, both) for here in (both[::-1] if other_first else both))
        this, other = (second, first) if other_first else (first, second)
        self.rounds.append(Round(this=this, other=other))
        self.say(comparison.progress(self.rounds[-1]))

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began_at:5.0f} s  {text}", flush=True)


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
    cost = {
        PEAK: max(watching.peak_mib(web).values(), default=0),
        PROCESSOR: sum(spent[name] for name in watching.PROCESSES if name in spent),
    }
    return replace(run, findings=[*findings, *run.findings], others={**run.others, **cost})


def choose_rows(words: str) -> Sequence[str]:
    """The rows that these words name, separated by commas, in their own order; all without a word. Raises
    SetupError."""
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    if unknown := [word for word in chosen if word not in COMPARED]:
        raise SetupError(f"ROWS={','.join(unknown)} is not compared: choose from {','.join(COMPARED)}")
    return [row for row in COMPARED if row in chosen or not chosen]


def run(name: str, size: Size, home: Path, rows: str = "") -> int:
    """Compare with the commit of that name; the exit code. What can't be done is reported in one line."""
    try:
        return Comparison(find(name), size, home, choose_rows(rows)).run()
    except (SetupError, OSError) as error:
        print(f"bench: failed: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
        return 1


def conclude(report: Report) -> int:
    """Print the table and what is wrong; the exit code."""
    table, circumstances = comparison.printed(report["rows"]), page.against_circumstances(report)
    print(f"\n{table}\n\n{circumstances}\n{page.FIGURES_LEGEND}", end="")
    failures = comparison.failures(report["rows"])
    for failure in failures:
        print(f"bench: FAILED {failure}", file=sys.stderr, flush=True)
    return 1 if failures else 0


def _last_line(error: SetupError) -> str:
    """The end of the log that the error shows, before make's own line: there the reason stands."""
    return [line for line in str(error).splitlines() if line.strip() and not line.startswith("make")][-1]


def find(name: str, *, project: Path = places.PROJECT) -> Commit:
    """The commit that a hash, branch or tag names. Raises SetupError."""
    # A name that starts with a dash would be an option of git.
    if not name.startswith("-"):
        asked = _git(["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"], project)
        if asked.returncode == 0:
            return Commit(sha=asked.stdout.strip(), name=name)
    raise SetupError(f"AGAINST={name} is no commit of {project}: give a hash, a branch or a tag")


@contextmanager
def checked_out(commit: Commit, folder: Path, *, project: Path = places.PROJECT) -> Iterator[Path]:
    """A worktree of the commit in that folder, with its Python environment; removed at the end.

    Raises SetupError when it can't be made.
    """
    try:
        _require(_git(["worktree", "add", "--detach", str(folder), commit.sha], project), "check out", commit)
        changed = _git(["status", "--porcelain", "--untracked-files=no"], folder)
        _require(changed, "read the checkout of", commit)
        if changed.stdout.strip():
            raise SetupError(
                f"the checkout of {commit.short} is not what it holds: {changed.stdout.split()[-1]} differs"
            )
        _prepare_environment(commit, folder, project)
        yield folder
    finally:
        _git(["worktree", "remove", "--force", str(folder)], project)


def is_changed(*, project: Path = places.PROJECT) -> bool:
    """Whether this project's files differ from the commit that is checked out."""
    return bool(_git(["status", "--porcelain", "--untracked-files=no"], project).stdout.strip())


def has_same_environment(folder: Path, project: Path) -> bool:
    """Whether both install the same packages in the same way."""
    names = {path.name for one in (folder, project) for path in one.glob("requirements*.txt")}
    return all(_content(folder / name) == _content(project / name) for name in (*names, str(BOOTSTRAP)))


def _prepare_environment(commit: Commit, folder: Path, project: Path) -> None:
    """Share this project's packages, or install the commit's own."""
    if has_same_environment(folder, project):
        (folder / ".venv").symlink_to((project / ".venv").resolve())
        return
    words = [sys.executable, str(folder / BOOTSTRAP), "mariadb"]
    _require(_execute(words, folder, BOOTSTRAP_SECONDS), "install the packages of", commit)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _git(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return _execute(["git", *words], folder, GIT_SECONDS)


def _execute(words: list[str], folder: Path, within_seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))


def _require(ran: subprocess.CompletedProcess[str], what: str, commit: Commit) -> None:
    if ran.returncode != 0:
        lines = (ran.stderr or ran.stdout).strip().splitlines()
        raise SetupError(f"can't {what} {commit.name}: {lines[-1] if lines else 'no reason given'}")
