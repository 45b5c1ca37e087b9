"""`make verify`: what takes too long for `.ci/run`, one command after the other, each with its log.

One that this machine can't run is NOT RUN. docs/lab/verified.md keeps how each step ended last. The exit code
is 1 after a failure, and 2 when none failed and something was not run.
"""

import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from scripts import options
from scripts.stack import children, environment, own_stack, places
from scripts.stack.children import say

PAGE = places.PROJECT / "docs/lab/verified.md"
COMMIT = "git describe --always; git diff --quiet HEAD -- . ':!docs/lab/verified.md' || echo with changes"
# A line of a command that can't run here, or of its part: make ends with 2 then as after any failure. Or all
# that scripts/bootstrap.py prints before it ends, where only root can install a system package.
NOT_RUN = (
    r"(?m)^(?:make )?([\w-]+|\*\*\*):? NOT (?:RUN|CHECKED|TESTED)\b.*$|\Afirstcome: .*; run this first: .*"
)
HEAD = """\
# What was verified

`make verify` writes a row when a step ends: the commit that it ran on, and how it ended. NOT RUN is what the
machine could not run.

| step | command | commit | date | verdict | minutes |
| --- | --- | --- | --- | --- | ---: |
"""


@dataclass(frozen=True)
class Step:
    command: str
    takes_seed: bool = False


# In the order in which they run.
STEPS = {
    "tests": Step("make test CIRCLE=other"),
    "long-tests": Step("make test CIRCLE=long"),
    "other-servers": Step("make test DB=others"),
    "containers": Step("make test-containers"),
    "campaigns": Step("make chaos CAMPAIGN=all", takes_seed=True),
    "planted": Step("make chaos CAMPAIGN=all QUICK=1 PLANTED=1", takes_seed=True),
    "soak": Step("make soak BROKER=rabbitmq", takes_seed=True),
    "simulation": Step("make simulate SECONDS=1800 EXAMPLES=200", takes_seed=True),
    "fuzz": Step("python3 -m lab fuzz --seconds 600", takes_seed=True),
    "alerts": Step("python3 -m lab alerts"),
    "cluster": Step("make cluster-drill QUICK=1", takes_seed=True),
    "packages": Step("make packages"),
    "lint": Step("python3 -m lab lint"),
}


def main() -> int:
    only = f"some of {','.join(STEPS)}"
    asked = options.read("make verify", only=only, seed="of the steps that draw faults or requests")
    steps = STEPS
    if asked.only:
        steps = {name: STEPS[name] for name in asked.only.split(",")}
    return children.run_command("make verify", lambda: verify(steps, asked.seed))


def verify(steps: Mapping[str, Step], seed: str, page: Path = PAGE) -> int:
    """Run these steps and record each on the page; 1 when one failed, 2 when none did and one was not run."""
    folder = places.private_folder(places.state()) / "verify"
    folder.mkdir(exist_ok=True)
    # What this make was given is not for the step's own make.
    own = environment.exported(without=own_stack.OF_MAKE)
    codes = [0]
    for name, step in steps.items():
        log = folder / f"{name}.log"
        began = time.monotonic()
        log.unlink(missing_ok=True)
        words = step.command.split()
        if seed and step.takes_seed:
            words.append(f"SEED={seed}" if words[0] == "make" else f"--seed={seed}")
        say(f"{name}: {' '.join(words)} > {log}")
        code = children.run_to_end(
            words, stop_seconds=120, log=log, environment=own, when_parent_dies=signal.SIGTERM
        )
        seconds = time.monotonic() - began
        # By the command, or by none where bootstrap says it.
        not_run = {found[1]: found[0] for found in re.finditer(NOT_RUN, log.read_text(errors="replace"))}
        target = words[3] if words[1] == "-m" else words[1]
        verdict = "ok"
        codes.append(2 * bool(not_run))
        if code and not_run.keys() & {target, None}:
            verdict = "NOT RUN"
        elif code:
            verdict = f"FAILED ({code})"
            codes.append(1)
        print(f"{verdict:<6} {name} ({seconds:.0f} s)", *not_run.values(), sep="\n       ", flush=True)
        # The step's row replaces its row before.
        rows = []
        if page.exists():
            rows = page.read_text().removeprefix(HEAD).splitlines()
        kept = [row for row in rows if not row.startswith(f"| {name} |")]
        commit = " ".join(children.run(["sh", "-c", COMMIT], within_seconds=60).stdout.split())
        ended = "; ".join([verdict, *not_run.values()])
        row = f"| {name} | `{step.command}` | {commit} | {date.today()} | {ended} | {seconds / 60:.0f} |"
        page.write_text(HEAD + "".join(f"{one}\n" for one in [*kept, row]))
    if 1 in codes:
        return 1
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
