"""`make verify`: what takes too long for `.ci/run`, one command after the other, and a table in the end.

A failed step is named, its log is kept, and the others go on; one that this machine can't run is NOT RUN.
docs/verified.md keeps how each step ended last. The exit code is 1 after a failure, and 2 when none failed
and something was not run.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from scripts.stack import SetupError, children, own_stack, places

STEPS: Mapping[str, str] = {
    "tests": "make test CIRCLE=other",
    "long-tests": "make test CIRCLE=long",
    "other-servers": "make test-other-servers",
    "containers": "make test-containers",
    "campaigns": "make chaos CAMPAIGN=all",
    "planted": "make chaos CAMPAIGN=all QUICK=1 PLANTED=1",
    "soak": "make soak DB=mariadb BROKER=rabbitmq",
    "simulation": "make simulate SECONDS=1800 EXAMPLES=200",
    "fuzz": "make fuzz SECONDS=600",
    "alerts": "make alerts",
    "cluster": "make cluster-drill QUICK=1",
    "packages": "make audit-dependencies",
}
"""Each step, and the command that it is."""
TAKES_SEED = ("make chaos", "make soak", "make simulate", "make fuzz", "make cluster")
NOT_RUN = re.compile(r"^(?:make )?([\w-]+): NOT (?:RUN|CHECKED)\b.*$", re.MULTILINE)
"""A line of a command that can't run here, or of its part: make ends with 2 then as after any failure."""
MISSING = re.compile(r"firstcome: .*; run this first: .*")
"""All that scripts/bootstrap.py prints before it ends, where only root can install a system package."""
LAST_LINES = 8
STOP_SECONDS = 120
"""How long an interrupted step may take to stop what it started."""
PAGE = places.PROJECT / "docs" / "verified.md"
HEAD = """# What was verified

`make verify` writes a row when a step ends: the commit that it ran on, and how it ended. NOT RUN is what the
machine could not run.

| step | command | commit | date | verdict | minutes |
| --- | --- | --- | --- | --- | ---: |
"""


@dataclass(frozen=True)
class Result:
    """How a step ended. `code` is its exit code, `not_run` its lines on what this machine can't run."""

    name: str
    code: int
    seconds: float
    is_run: bool = True
    not_run: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        if self.code == 0:
            return "ok"
        return f"FAILED ({self.code})" if self.is_run else "NOT RUN"

    def __str__(self) -> str:
        line = f"{self.verdict:<6} {self.name} ({self.seconds:.0f} s)"
        return "\n".join([line, *(f"       {one}" for one in self.not_run)])


def main() -> int:
    """The process behind `make verify`; its exit code."""
    parser = argparse.ArgumentParser(prog="make verify", description="What takes too long for each change.")
    parser.add_argument("--only", default="", help=f"some of {','.join(STEPS)}")
    parser.add_argument("--seed", default="", help="of the steps that draw faults or requests")
    asked = parser.parse_args()
    return children.run_command("make verify", lambda: verify(_chosen(asked.only), asked.seed))


def _chosen(only: str) -> list[str]:
    """The steps of these names, in their order here. Raises SetupError for an unknown one."""
    names = {name.strip() for name in only.split(",") if name.strip()}
    if unknown := names - STEPS.keys():
        raise SetupError(f"no step is called {', '.join(sorted(unknown))}: there are {', '.join(STEPS)}")
    return [name for name in STEPS if not names or name in names]


def verify(names: list[str], seed: str, steps: Mapping[str, str] = STEPS, page: Path = PAGE) -> int:
    """Run these steps and record each on the page; 1 when one failed, 2 when none did and one was not run."""
    folder = places.private_folder(places.state()) / "verify"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    results = []
    for name in names:
        results.append(_run(name, steps[name], seed, folder / f"{name}.log"))
        record(results[-1], steps[name], page)
    print("", *results, sep="\n", flush=True)
    if any(result.code and result.is_run for result in results):
        return 1
    return 2 if any(result.not_run for result in results) else 0


def record(result: Result, command: str, page: Path) -> None:
    """Write the step's row into the page, in the place of the step's row before."""
    rows = page.read_text().removeprefix(HEAD).splitlines() if page.exists() else []
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=places.PROJECT, capture_output=True, text=True
    ).stdout.strip()
    verdict = "; ".join([result.verdict, *result.not_run])
    cells = [result.name, f"`{command}`", described, f"{date.today()}", verdict, f"{result.seconds / 60:.0f}"]
    kept = [row for row in rows if not row.startswith(f"| {result.name} |")]
    page.write_text(HEAD + "".join(f"{row}\n" for row in [*kept, f"| {' | '.join(cells)} |"]))


def words_of(command: str, seed: str) -> list[str]:
    """The words of the step's command, with the seed where it draws anything."""
    return [*command.split(), *([f"SEED={seed}"] if seed and command.startswith(TAKES_SEED) else [])]


def result_of(name: str, words: Sequence[str], code: int, seconds: float, output: str) -> Result:
    """How the step ended: it was not run when its own target says so, and not when a part of it does."""
    lines = {found[0]: found[1] for found in NOT_RUN.finditer(output)}
    missing = MISSING.match(output) if code else None
    is_run = code == 0 or not (missing or set(lines.values()) & set(words[1:2]))
    return Result(name, code, seconds, is_run=is_run, not_run=[missing[0]] if missing else [*lines])


def _run(name: str, command: str, seed: str, log: Path) -> Result:
    """Run one step, its output in the log, and say how it ended."""
    words = words_of(command, seed)
    # What this make was given is not for the step's own make.
    environment = {key: value for key, value in os.environ.items() if key not in own_stack.OF_MAKE}
    print(f"{name}: {' '.join(words)} > {log}", flush=True)
    began = time.monotonic()
    child = children.start(words, log=log, environment=environment, when_parent_dies=signal.SIGTERM)
    try:
        child.wait()
    finally:
        if child.poll() is None:
            children.stop(child, within_seconds=STOP_SECONDS, number=signal.SIGINT)
    result = result_of(
        name, words, child.returncode, time.monotonic() - began, log.read_text(errors="replace")
    )
    print(result, children.tail(log, LAST_LINES), sep="\n", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
