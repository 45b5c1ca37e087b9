"""`make chaos CAMPAIGN=all`: a process for each campaign, and the rows of all in the end."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.chaos.campaigns.rows import HEADER
from scripts.stack import children, places

QUICK_AT_ONCE, WHOLE_AT_ONCE = 2, 1
STOP_SECONDS = 60
"""How long a campaign may take to stop its stack."""


@dataclass(frozen=True)
class Running:
    """A campaign's process; its output goes to the log."""

    name: str
    child: subprocess.Popen[bytes]
    log: Path


def run_all(names: Sequence[str], arguments: Sequence[str], *, is_quick: bool) -> int:
    """Run these campaigns, print each one's output when it ends, then all rows; the highest exit code."""
    folder = places.private_folder(places.state())
    waiting, running, codes, rows = deque(names), list[Running](), [0], list[str]()
    try:
        while waiting or running:
            while waiting and len(running) < (QUICK_AT_ONCE if is_quick else WHOLE_AT_ONCE):
                running.append(_start(waiting.popleft(), arguments, folder))
            for one in [*running]:
                if (code := one.child.poll()) is not None:
                    running.remove(one)
                    codes.append(abs(code))
                    rows += _show(one, code)
            time.sleep(0.5)
    finally:
        for one in running:
            children.stop(one.child, within_seconds=STOP_SECONDS)
            _show(one, one.child.returncode)
    print("all campaigns:", HEADER, *rows, sep="\n", flush=True)
    return max(codes)


def _start(name: str, arguments: Sequence[str], folder: Path) -> Running:
    log = folder / f"campaign-{name}-{os.getpid()}.log"
    command = [sys.executable, "-m", "lab.chaos.campaigns", "--campaign", name, *arguments]
    log.write_bytes(b"")
    child = children.start(command, log=log, when_parent_dies=signal.SIGTERM)
    return Running(name, child, log)


def _show(one: Running, code: int) -> list[str]:
    """Print the output, and remove its file; the campaign's row, or that it has none."""
    text = one.log.read_text()
    one.log.unlink()
    print(text, end="", flush=True)
    if code != 0:
        print(f"{one.name}: FAILED with exit code {code}", flush=True)
    rows = [line for line in text.splitlines() if line.startswith(f"| {one.name} |")]
    return rows or [f"| {one.name} | no result: exit code {code} |"]
