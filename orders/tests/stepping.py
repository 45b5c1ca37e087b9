"""Advances sagas in the test's own thread, one task at a time: a failure fails the test."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from uuid import UUID

from orders.models import Saga
from orders.saga.run import Executor, Task, ThreadPools


def no_failpoint(point: str) -> None:
    """The default: no failure."""


# Tests that crash at a point replace this failpoint.
failpoint: Callable[[str], None] = no_failpoint


class SteppedPools(ThreadPools):
    """Runs an executor's tasks in the caller's thread, one at a time and in order."""

    def __init__(self) -> None:
        super().__init__({})
        self.tasks: deque[tuple[str, Task]] = deque()

    def submit(self, pool: str, task: Task) -> None:
        self.tasks.append((pool, task))

    def pause(self, seconds: float) -> None:
        """No other thread runs."""

    def step(self) -> bool:
        """Run the next task. Returns False if there is none."""
        if not self.tasks:
            return False
        _, task = self.tasks.popleft()
        task()
        return True

    def wait(self, event: threading.Event, seconds: float) -> bool:
        while self.step():
            pass
        return event.is_set()


class SteppedExecutor(Executor):
    """An executor that advances one saga at a time."""

    def advance(self, saga_id: UUID) -> str:
        """Advance the saga as far as possible now. Returns its state."""
        self._enqueue(saga_id, Saga.objects.get(id=saga_id).kind, ends_at=math.inf)
        self._pools.wait(threading.Event(), math.inf)
        return Saga.objects.values_list("state", flat=True).get(id=saga_id)


def executor() -> SteppedExecutor:
    """A new executor, without leases, as after the start of a process."""
    return SteppedExecutor(pools=SteppedPools(), failpoint=lambda point: failpoint(point))


class Delegate:
    """Uses a new executor for each call, by `advance`, which tests may replace."""

    def advance(self, saga_id: UUID, *, seconds: float = 0) -> str:
        return advance(saga_id)

    def accept(self, saga_ids: Iterable[UUID], *, seconds: float = 0) -> None:
        for saga_id in saga_ids:
            advance(saga_id)


def advance(saga_id: UUID) -> str:
    """Advance the saga as far as possible now, by a new executor. Returns its state."""
    return executor().advance(saga_id)
