"""`make bench`: what the shop does a second on a fresh MariaDB stack, beside what it does doing nothing; with
`AGAINST=<commit>` beside another commit.

It fails when a ratio of two of its loads misses its goal, a law is broken, a request isn't answered as it
should be, or the shop counts otherwise than its callers.
"""

import filecmp
import itertools
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from lab import report, stage as stages
from lab.bench import judging, loads, parts, sizes
from lab.bench.judging import Measured, Rounds
from lab.bench.loads import BenchStage
from lab.bench.rows import BUDGET, COMPARED, MOST_PROCESSOR, ROWS
from lab.bench.sizes import Size
from lab.stack import database
from scripts import in_debian, options
from scripts.stack import SetupError, instance as instances, own_stack, places, ports
from scripts.stack.instance import Instance

INSTALLED = ("requirements.txt", "requirements-embedded.txt")  # What `make run DB=mariadb` installs


def main() -> int:
    parser = options.parser(
        "make bench",
        flags=["quick", "budget"],
        quick="1: three minutes instead of twenty",
        against="a commit: the loads beside those of that one",
        budget="1: few rows beside the last release, by processor time",
        rows="only these rows, separated by commas",
        rounds="how often each row is measured that has rounds",
    )
    parser.add_argument("--debian", default="", choices=("", "13"), help="with its Python and servers")
    asked = parser.parse_args()
    if asked.debian:
        return in_debian.run("lab.bench", *sys.argv[1:], purpose="bench")
    commit = asked.against
    if asked.budget and not commit:
        commit = stages.PREVIOUS
    if commit:
        try:
            commit = short(commit)
        except SetupError:
            parser.error(f"AGAINST={commit} is no commit")
    size = sizes.FULL
    known = [*ROWS]
    if asked.quick:
        size = sizes.QUICK
    if commit:
        known = COMPARED
    if asked.budget:
        size = sizes.SMALL
        known = BUDGET
    rows = asked.rows.split(",") if asked.rows else known
    unknown = set(rows) - set(known)
    if unknown:
        parser.error(f"ROWS={','.join(unknown)} is not measured: choose from {','.join(known)}")
    rounds = int(asked.rounds) if asked.rounds else max(size.rounds, 2 if commit else 1)
    size = replace(size, rounds=rounds)
    run = partial(bench, size=size, rows=rows)
    if commit:
        run = partial(against, name=commit, size=size, rows=rows)
    return own_stack.measure("bench", "bench", run)


def short(commit: str) -> str:
    """The commit's short name. Raises SetupError where there is none."""
    # A name that starts with a dash would be an option of git.
    return report.git("rev-parse", "--short", "--verify", "--end-of-options", f"{commit}^{{commit}}")


def bench(instance: Instance, *, size: Size, rows: Collection[str]) -> int:
    """These rows in their order, part by part: the memory is that of all loads before. The exit code."""
    measured = []
    wanted = [row for row in ROWS if row in {*rows, "audit"}]
    with loads.running(instance, size) as stage:
        for part, group in itertools.groupby(wanted, key=lambda row: ROWS[row].part):
            names = [*group]
            runs = []
            for run in parts.measure(stage, part, names):
                if run.row in names:
                    runs.append(run)
            summed = judging.summed_up(runs)
            measured += summed
            for row in summed:
                stages.say("; ".join(judging.cells(row)))
        circumstances = report.circumstances(instance)
    return judging.write(measured, size=vars(size), **circumstances)


def against(instance: Instance, *, name: str, size: Size, rows: Collection[str]) -> int:
    """Both stacks stay up, each run by its own code on ports, state and a MariaDB of its own. Loads and
    measuring code are this commit's for both. Rounds alternate: only one is under load at a time, and the
    next load starts only after the backlog of the one before is worked off. The exit code."""
    has_budget = size.name == sizes.SMALL.name
    checkout = checked_out(name, instance.home / "checkout")
    with (
        warm(instance.home / "this", size, places.PROJECT) as this,
        warm(instance.home / "other", size, checkout) as other,
    ):
        # First what the shop takes while nobody calls: an audit of what the loads make would be in it.
        wanted = sorted((row for row in ROWS if row in rows), key=lambda row: row != "idle")
        rounds: dict[str, Rounds] = {row: [] for row in wanted}
        for number, row in itertools.product(range(size.rounds), wanted):
            if is_due(row, rounds[row], number=number, size=size):
                # The order changes from round to round, so that a drift of the machine favours neither.
                order = (other, this) if number % 2 else (this, other)
                runs = {stage: measure_alone(stage, row, order) for stage in order}
                rounds[row].append((runs[this], runs[other]))
                stages.say("; ".join(judging.cells(judging.compared(row, rounds[row][-1:]))))
        measured = [judging.compared(row, done, has_budget=has_budget) for row, done in rounds.items()]
        measured[-1]["findings"] += own_stack.broken(
            own_stack.audit(this.instance, within_seconds=parts.AUDIT_SECONDS)
        )
        circumstances = report.circumstances(this.instance)
    return judging.write(measured, size=vars(size), against=name, **circumstances)


def is_due(row: str, done: Rounds, *, number: int, size: Size) -> bool:
    """Whether the row is measured in this round: with a budget until it meets that; else a load of k6 in each
    round, and the others once, after all loads."""
    if size.name == sizes.SMALL.name:
        return not done or judging.least_processor(done) >= MOST_PROCESSOR
    if ROWS[row].part in parts.OF_K6:
        return True
    if row == "idle":
        return number == 0
    return number == size.rounds - 1


def checked_out(commit: str, folder: Path) -> Path:
    """The folder with the commit's files and its Python environment."""
    stages.code_of(commit, folder)
    _, *different = filecmp.cmpfiles(folder, places.PROJECT, INSTALLED, shallow=False)
    if any(different):
        subprocess.run([sys.executable, "scripts/bootstrap.py", "mariadb"], cwd=folder, check=True)
    else:
        (folder / ".venv").symlink_to((places.PROJECT / ".venv").resolve())
    return folder


@contextmanager
def warm(home: Path, size: Size, project: Path) -> Iterator[BenchStage]:
    """A stack of that code, each web process on a processor of its own: by themselves only
    those of the first stack of a machine would be, and it would accept a quarter fewer orders or more."""
    stages.say(f"starting and seeding {project} …")
    port = ports.free(instances.PORTS)
    instance = Instance(home=places.private_folder(home), port=port, database="mariadb", project=project)
    with loads.running(instance, size) as stage:
        cores = sorted(os.sched_getaffinity(0))
        for pid, core in zip(sorted(stages.web_workers(instance)), itertools.cycle(cores), strict=False):
            subprocess.run(["taskset", "-acp", str(core), str(pid)], check=True, stdout=subprocess.DEVNULL)
        yield stage


def measure_alone(stage: BenchStage, row: str, both: Sequence[BenchStage]) -> Measured:
    """Run the load once neither stack has anything left of an earlier one."""
    findings = []
    for each in both:
        database.wait_until_worked_off(each.instance)
        left = database.left(each.instance)
        if sum(left) > database.FEW:
            findings.append(f"{row}: began beside {left}, of a load before")
    web = stages.processes(stage.instance, "web")
    for pid in web:
        with suppress(OSError):  # have the kernel count its peak memory from now on, if it allows that
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    run = parts.run_once(stage, row)
    return replace(
        run, figures={**run.figures, "peak_mib": stages.peak_mib(web)}, findings=[*findings, *run.findings]
    )


if __name__ == "__main__":
    sys.exit(main())
