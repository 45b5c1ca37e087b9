"""Reading a system every second in a thread, within a deadline, and with rests."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from structlog import get_logger

from shop.concurrency import event_loop
from shop.concurrency.thread_pool import ThreadPool

T = TypeVar("T")
log = get_logger(__name__)
SHARE = 0.05
"""Of the time, the most that a reading works which takes longer the more is open: 50 ms a second."""
LONGEST_REST_SECONDS = 5.0
"""Also after a reading that took long, as on a machine that is busy with other things."""
RETRY_SECONDS = 1.0
BOARD_POOL = ThreadPool("board", threads=5, max_waiting=64, idle_seconds=30.0)
"""One for each reading and for the check of sessions, and one to compose: none waits for one that hangs."""


class PacedReading(Generic[T]):
    """Calls a function that blocks, never twice at the same time, and keeps its last result.

    After a call that took t seconds no other begins for t / `share`, counted from its start, or for
    `LONGEST_REST_SECONDS` after its end: however full the tables are, the work stays a small share of the
    time. Belongs to the event loop that uses it.
    """

    def __init__(self, name: str, read: Callable[[], T], *, share: float = SHARE) -> None:
        self.value: T | None = None
        self.read_at: float | None = None
        """When `value` was read, by the monotonic clock."""
        self._name = name
        self._read = read
        self._share = share
        self._task: asyncio.Task[None] | None = None
        self._due_at = float("-inf")
        self._is_failing = False

    async def refresh(self, *, within_seconds: float) -> None:
        """Read anew if that is due; return after the deadline, with the reading still under way. No raise."""
        if self._task is None and time.monotonic() >= self._due_at:
            self._task = asyncio.ensure_future(self._call())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within_seconds)

    def age_seconds(self) -> float | None:
        """How long ago `value` was read; None before the first success."""
        return None if self.read_at is None else time.monotonic() - self.read_at

    async def _call(self) -> None:
        try:
            value, began_at, ended_at = await event_loop.run_in_thread(self._timed, pool=BOARD_POOL)
        except Exception as error:
            self._due_at = time.monotonic() + RETRY_SECONDS
            if not self._is_failing:
                log.warning("the board can't read", reading=self._name, error=str(error)[:200])
            self._is_failing = True
        else:
            self.value, self.read_at, self._is_failing = value, ended_at, False
            rest_seconds = (ended_at - began_at) * (1 / self._share - 1)
            self._due_at = ended_at + min(rest_seconds, LONGEST_REST_SECONDS)
        finally:
            self._task = None

    def _timed(self) -> tuple[T, float, float]:
        began_at = time.monotonic()
        return self._read(), began_at, time.monotonic()
