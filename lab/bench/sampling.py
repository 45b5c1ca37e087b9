"""A sampling profiler: the processor time of a process by parts of its code.

At each sample the processor time that a thread has taken since the one before, by the thread's own clock, is
added to the part whose file is innermost in its stack. What a thread takes before its first sample and after
its last one is lost. The GIL's switch interval is 0.1 ms instead of 5: else samples fall where the running
thread releases the GIL.
"""

import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import FrameType

from lab.tables import declared
from scripts.stack import places

FOLDER = "SAMPLES_FOLDER"
PAUSE_SECONDS, SWITCH_SECONDS = 0.005, 0.0001
CATEGORIES: Mapping[str, str] = declared("lab/bench/categories.toml")
_us = Counter[str]()


@cache
def part_of(file: str) -> str:
    return next((part for part, pattern in CATEGORIES.items() if re.search(pattern, file)), "")


def settings(folder: Path) -> dict[str, str]:
    """The environment of a stack whose processes write what was found, each to a file of its id."""
    here = Path(__file__).resolve()
    return {"PYTHONPATH": f"{here.with_name('site')}{os.pathsep}{here.parents[2]}", FOLDER: str(folder)}


def start() -> None:
    """Sample from now on."""
    _us.clear()
    sys.setswitchinterval(SWITCH_SECONDS)
    threading.Thread(target=_sample_forever, name="sampling", daemon=True).start()


def _sample_forever() -> None:
    own, pid, taken, written_at = threading.get_ident(), os.getpid(), dict[int, float](), 0.0
    while True:
        time.sleep(PAUSE_SECONDS)
        frames = sys._current_frames()
        for thread in threading.enumerate():
            # A forked process has the main thread's number of before.
            number = pid if thread is threading.main_thread() else thread.native_id
            if thread.ident is None or number is None or thread.ident == own:
                continue
            try:
                # Linux names the clock of a thread's processor time by the thread's number (CPUCLOCK_SCHED).
                now = time.clock_gettime((~number << 3) | 6)
            except OSError:
                continue  # it has ended
            used, taken[number] = now - taken.get(number, now), now
            if used:
                _us[_innermost(frames.get(thread.ident))] += round(used * 1e6)
        if time.monotonic() > written_at + 1:
            written_at = time.monotonic()
            places.write_whole(Path(os.environ[FOLDER], str(pid)), json.dumps(_us))


def _innermost(frame: FrameType | None) -> str:
    while frame and not part_of(frame.f_code.co_filename):
        frame = frame.f_back
    return part_of(frame.f_code.co_filename) if frame else "other"
