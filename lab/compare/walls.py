"""What a load runs into: what processes, machine and locks took a second of the step that was too much."""

import os
import resource
from pathlib import Path

from lab.load import Numbers
from lab.stack import database
from lab.stage import TICKS, spent, web_workers
from scripts.stack.instance import Instance

MACHINE = "the machine"
LOCK_WAITS = "lock waits"
NEARLY_ALL = 0.9


def used(instance: Instance) -> Numbers:
    """Seconds so far: of processor by process and of the whole machine, and of waiting for locks of rows."""
    taken = spent(instance)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # k6 is the only one in a step
    taken["k6"] = ended.ru_utime + ended.ru_stime
    # Of /proc/stat: all but idle and waiting for a disk.
    user, nice, system, _idle, _waiting, *others = [
        int(field) for field in Path("/proc/stat").read_text().split()[1:9]
    ]
    taken[MACHINE] = (user + nice + system + sum(others)) / TICKS
    taken[LOCK_WAITS] = database.counters(instance)["row_lock_ms"] / 1000
    return taken


def wall(instance: Instance, vus: int, too_much: str, taken: Numbers) -> str:
    """What so many callers ran into who were too many: the first rule that fits what was taken in each
    second. The processor comes first: while it is used up, more threads or fewer locks bring nothing."""
    own = {}
    for name, seconds in taken.items():
        if name not in (MACHINE, LOCK_WAITS):
            own[name] = seconds
    is_busy = taken[MACHINE] > NEARLY_ALL * (os.cpu_count() or 1)
    others = taken[MACHINE] - sum(own.values())
    sessions = database.status(instance, "Threads_connected")
    busiest = max(own.values())
    web_cores = len(web_workers(instance))
    rules = {
        "other programs of the machine": is_busy and others > busiest,
        "the processor": is_busy,
        "one core of web": taken["web"] > NEARLY_ALL * web_cores,
        "one core of the worker": taken["worker"] > NEARLY_ALL,
        "one core of redis": taken["redis"] > NEARLY_ALL,
        LOCK_WAITS: taken[LOCK_WAITS] > sessions / 2,
    }
    full = [name for name, holds in rules.items() if holds] or ["not named"]
    says = ", ".join(f"{name} {number:.2f}" for name, number in taken.items())
    if full[1:]:
        says += f"; also full: {', '.join(full[1:])}"
    return f"{full[0]}, at {vus:,} buyers: {too_much} ({says})"
