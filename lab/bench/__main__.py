"""`make bench`: what the shop does a second on a fresh MariaDB stack, beside what it does doing nothing; with
`AGAINST=<commit>` beside another commit.

It fails when a ratio of two of its loads misses its goal, a law is broken, a request isn't answered as it
should be, or the shop counts otherwise than its callers.
"""

import argparse
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
from types import SimpleNamespace

from lab import report, stage as stages
from lab.bench import loads, parts, rows as results
from lab.bench.rows import ROWS, Measured, Rounds
from lab.flags import is_on
from lab.stack import database
from lab.stage import Stage
from scripts import in_debian
from scripts.stack import instance as instances, own_stack, places, ports
from scripts.stack.instance import Instance

INSTALLED = ("requirements.txt", "requirements-embedded.txt")
"""What `make run DB=mariadb` installs."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the shop on MariaDB.")
    parser.add_argument("--quick", type=is_on, help="1: three minutes instead of twenty")
    parser.add_argument("--against", default="", help="a commit: the loads beside those of that one")
    parser.add_argument("--budget", type=is_on, help="1: few rows beside the last release, by processor time")
    parser.add_argument("--rows", default="", help="only these rows, separated by commas")
    parser.add_argument("--rounds", default="", help="how often each row is measured that has rounds")
    parser.add_argument("--debian", default="", choices=("", "13"), help="with its Python and servers")
    asked = parser.parse_args()
    if asked.debian:
        return in_debian.run("lab.bench", *sys.argv[1:], purpose="bench")
    commit = asked.against or (stages.PREVIOUS if asked.budget else "")
    try:
        # A name that starts with a dash would be an option of git.
        commit = commit and report.git(
            "rev-parse", "--short", "--verify", "--end-of-options", f"{commit}^{{commit}}"
        )
    except subprocess.CalledProcessError:
        parser.error(f"AGAINST={commit} is no commit")
    known = results.BUDGET if asked.budget else results.COMPARED if commit else [*ROWS]
    rows = asked.rows.split(",") if asked.rows else known
    if unknown := set(rows) - set(known):
        parser.error(f"ROWS={','.join(unknown)} is not measured: choose from {','.join(known)}")
    size = results.SMALL if asked.budget else results.QUICK if asked.quick else results.FULL
    size.rounds = int(asked.rounds or max(size.rounds, 2 if commit else 1))
    run = partial(against, name=commit) if commit else bench
    return own_stack.measure("bench", "bench", partial(run, size=size, rows=rows))


def bench(instance: Instance, *, size: SimpleNamespace, rows: Collection[str]) -> int:
    """These rows in their order, part by part: the memory is that of all loads before. The exit code."""
    measured = []
    with loads.running(instance, size) as here:
        wanted = (row for row in ROWS if row in {*rows, "audit"})
        for part, group in itertools.groupby(wanted, key=lambda row: ROWS[row].part):
            some = [*group]
            found = results.summed_up(one for one in parts.PARTS[part](here, some) if one.row in some)
            measured += found
            for one in found:
                stages.say("; ".join(results.cells(one)))
        circumstances = report.circumstances(instance)
    return results.write(measured, size=vars(size), **circumstances)


def against(instance: Instance, *, name: str, size: SimpleNamespace, rows: Collection[str]) -> int:
    """Both stacks stay up, each run by its own code on ports, state and a MariaDB of its own. Loads and
    measuring code are this commit's for both. Rounds alternate: only one is under load at a time, and the
    next load starts only after the backlog of the one before is worked off. The exit code."""
    has_budget = size.name == results.SMALL.name
    with (
        warm(instance.home / "this", size, places.PROJECT) as this,
        warm(instance.home / "other", size, checked_out(name, instance.home / "checkout")) as other,
    ):
        # First what the shop takes while nobody calls: an audit of what the loads make would be in it.
        wanted = sorted((row for row in ROWS if row in rows), key=lambda row: row != "idle")
        rounds: dict[str, list[tuple[Measured, Measured]]] = {row: [] for row in wanted}
        for number, row in itertools.product(range(size.rounds), wanted):
            if is_due(row, rounds[row], number=number, size=size):
                # The order changes from round to round, so that a drift of the machine favours neither.
                order = (this, other) if number % 2 == 0 else (other, this)
                runs = {here: measure_alone(here, row, order) for here in order}
                rounds[row].append((runs[this], runs[other]))
                stages.say("; ".join(results.cells(results.compared(row, rounds[row][-1:]))))
        measured = [results.compared(row, done, has_budget=has_budget) for row, done in rounds.items()]
        audited = own_stack.audit(this.instance, within_seconds=ROWS["audit"].within_seconds)
        measured[-1]["findings"] += own_stack.broken(audited)
        found = report.circumstances(this.instance)
    return results.write(measured, size=vars(size), against=name, **found)


def is_due(row: str, done: Rounds, *, number: int, size: SimpleNamespace) -> bool:
    """Whether the row is measured in this round: with a budget until it meets that; else a load of k6 in each
    round, and the others once, after all loads."""
    if size.name == results.SMALL.name:
        return not done or results.least_processor(done) >= results.MOST_PROCESSOR
    return ROWS[row].part in parts.OF_K6 or number == (0 if row == "idle" else size.rounds - 1)


def checked_out(commit: str, folder: Path) -> Path:
    """The folder with the commit's files and its Python environment."""
    stages.code_of(commit, folder)
    _, *different = filecmp.cmpfiles(folder, places.PROJECT, INSTALLED, shallow=False)
    if any(different):
        words = [sys.executable, str(folder / "scripts/bootstrap.py"), "mariadb"]
        subprocess.run(words, cwd=folder, check=True)
    else:
        (folder / ".venv").symlink_to((places.PROJECT / ".venv").resolve())
    return folder


@contextmanager
def warm(home: Path, size: SimpleNamespace, project: Path) -> Iterator[Stage]:
    """A stack of that code, each web process on a processor of its own: by themselves only
    those of the first stack of a machine would be, and it would accept a quarter fewer orders or more."""
    stages.say(f"starting and seeding {project} …")
    port, home = ports.free(instances.PORTS), places.private_folder(home)
    instance = Instance(home=home, port=port, database="mariadb", project=project)
    with loads.running(instance, size) as here:
        workers, cores = sorted(stages.web_workers(here.instance)), sorted(os.sched_getaffinity(0))
        for pid, core in zip(workers, cores * len(workers), strict=False):
            subprocess.run(["taskset", "-acp", str(core), str(pid)], check=True, stdout=subprocess.DEVNULL)
        yield here


def measure_alone(here: Stage, row: str, both: Sequence[Stage]) -> Measured:
    """Run the load once neither stack has anything left of an earlier one."""
    findings = []
    for one in both:
        database.wait_until_worked_off(one.instance)
        if sum(left := database.left(one.instance)) > database.FEW:
            findings.append(f"{row}: began beside {left[0]} events and {left[1]} sagas of a load before")
    web = stages.processes(here.instance, "web")
    for pid in web:
        with suppress(OSError):  # have the kernel count its peak memory from now on, if it allows that
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    found = parts.run_once(here, row)
    figures = {**found.figures, "peak_mib": stages.peak_mib(web)}
    return replace(found, figures=figures, findings=[*findings, *found.findings])


if __name__ == "__main__":
    sys.exit(main())
