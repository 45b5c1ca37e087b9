"""Wall clocks of a stack's processes, moved while they run: gradually as bad clocks drift, or by a jump."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from scripts.stack.environment import clock_file
from scripts.stack.instance import Instance
from scripts.stack.programs import faketime

FAR_SECONDS = 150
"""How far a clock is off in the end: two that drift apart are five minutes apart."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - faketime puts its memory there
STEP_SECONDS, STEP_PAUSE_SECONDS = 10, 0.25


def set_clocks(instance: Instance, clocks: Mapping[str, int]) -> None:
    """Set these wall clocks so many seconds ahead; each takes effect within a second or two."""
    instance.run.mkdir(parents=True, exist_ok=True)
    for clock, seconds in clocks.items():
        faketime.set_offset(clock_file(instance, clock), seconds)


def drift(instance: Instance, clocks: Mapping[str, int], *, back: bool = False) -> None:
    """Move these wall clocks step by step from the right time to so many seconds ahead, or `back`."""
    most = max(map(abs, clocks.values()))
    shares = [done / most for done in range(STEP_SECONDS, most + STEP_SECONDS, STEP_SECONDS)]
    for share in [*reversed(shares[:-1]), 0.0] if back else shares:
        now = {clock: round(min(share, 1.0) * seconds) for clock, seconds in clocks.items()}
        set_clocks(instance, now)
        time.sleep(STEP_PAUSE_SECONDS)


@contextmanager
def _off(seconds: int, clock: str, instance: Instance) -> Iterator[None]:
    """Inside the block the clock is off by so much, after a drift there; then it drifts back."""
    drift(instance, {clock: seconds})
    try:
        yield
    finally:
        drift(instance, {clock: seconds}, back=True)


LASTING: Mapping[str, Callable[[str, Instance], AbstractContextManager[None]]] = {
    "clock behind of": partial(_off, -FAR_SECONDS),
    "clock ahead of": partial(_off, FAR_SECONDS),
}
"""Faults that last until they are undone, of a process whose clock has its own name."""


@contextmanager
def without_leftovers() -> Iterator[None]:
    """Remove in the end what libfaketime has left under /dev/shm of processes that are gone."""
    try:
        yield
    finally:
        for path in SHARED_MEMORY.glob("faketime_shm_*"):
            pid = path.name.rpartition("_")[2]
            if not Path("/proc", pid).exists():
                faketime.remove_shared_memory(int(pid))
