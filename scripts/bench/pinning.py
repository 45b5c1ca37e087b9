"""A processor of its own for each web process of a stack, where several stacks share the machine.

Under `WEB_OWN_PROCESSOR` a web process claims a processor that no other process of the machine has claimed,
so only the first stack gets any. Two stacks that are loaded in turn would differ by that: measured with the
same code twice, the first one accepted a quarter fewer orders a second.
"""

import contextlib
import os
from pathlib import Path

from scripts import process_identity
from scripts.instance import Instance

FEATURE = Path("shop") / "processors.py"
"""A commit without it leaves its web processes free to run anywhere."""


def pin_web_processes(instance: Instance) -> None:
    """Keep the first web process to the first processor, the next to the next, as far as there are any."""
    if not (instance.project / FEATURE).exists():
        return
    leader = process_identity.leader_of(instance.run, "web")
    workers = process_identity.group_of(instance.run, "web") - {leader}
    for pid, processor in zip(sorted(workers), sorted(os.sched_getaffinity(0)), strict=False):
        pin(pid, processor)


def pin(pid: int, processor: int) -> None:
    """Keep every thread of the process to that processor; threads that they start are kept there as well."""
    pinned: set[int] = set()
    while found := _threads(pid) - pinned:
        for thread in found:
            with contextlib.suppress(ProcessLookupError):  # it ended
                os.sched_setaffinity(thread, {processor})
        pinned |= found


def _threads(pid: int) -> set[int]:
    try:
        return {int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()}
    except FileNotFoundError:
        return set()
