"""`make verify`: what takes too long for `.ci/run`, one command after the other, each with its log.

One that this machine can't run is NOT RUN. docs/lab/verified.md keeps how each step ended last. The exit code
is 1 after a failure, and 2 when none failed and something was not run.
"""

import re
import signal
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from lab.tables import declared
from scripts import options
from scripts.stack import children, environment, own_stack, places
from scripts.stack.children import say

DECLARED = declared("lab/verify.toml")
STEPS: Mapping[str, str] = DECLARED["steps"]
PAGE = places.PROJECT / "docs/lab/verified.md"
COMMIT = "git describe --always; git diff --quiet HEAD -- . ':!docs/lab/verified.md' || echo with changes"


def main() -> int:
    only = f"some of {','.join(STEPS)}"
    asked = options.read("make verify", only=only, seed="of the steps that draw faults or requests")
    steps = STEPS
    if asked.only:
        steps = {name: STEPS[name] for name in asked.only.split(",")}
    return children.run_command("make verify", lambda: verify(steps, asked.seed))


def verify(steps: Mapping[str, str], seed: str, page: Path = PAGE) -> int:
    """Run these steps and record each on the page; 1 when one failed, 2 when none did and one was not run."""
    folder = places.private_folder(places.state()) / "verify"
    folder.mkdir(exist_ok=True)
    # What this make was given is not for the step's own make.
    own = environment.exported(without=own_stack.OF_MAKE)
    codes = [0]
    for name, command in steps.items():
        log = folder / f"{name}.log"
        began = time.monotonic()
        log.unlink(missing_ok=True)
        words = command.split()
        if seed and command.startswith(tuple(DECLARED["takes_seed"])):
            words.append(f"SEED={seed}" if words[0] == "make" else f"--seed={seed}")
        say(f"{name}: {' '.join(words)} > {log}")
        code = children.run_to_end(
            words, stop_seconds=120, log=log, environment=own, when_parent_dies=signal.SIGTERM
        )
        seconds = time.monotonic() - began
        # By the command, or by none where bootstrap says it.
        not_run = {
            found[1]: found[0] for found in re.finditer(DECLARED["not_run"], log.read_text(errors="replace"))
        }
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
            rows = page.read_text().removeprefix(DECLARED["head"]).splitlines()
        kept = [row for row in rows if not row.startswith(f"| {name} |")]
        commit = " ".join(children.run(["sh", "-c", COMMIT], within_seconds=60).stdout.split())
        ended = "; ".join([verdict, *not_run.values()])
        row = f"| {name} | `{command}` | {commit} | {date.today()} | {ended} | {seconds / 60:.0f} |"
        page.write_text(DECLARED["head"] + "".join(f"{one}\n" for one in [*kept, row]))
    if 1 in codes:
        return 1
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
