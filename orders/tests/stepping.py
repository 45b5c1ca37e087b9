"""Advances sagas in the test's own thread, one task at a time: a failure fails the test."""

from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

from orders.models import Saga
from orders.saga import rows as saga_rows
from orders.saga.definitions import DO, SagaRow
from orders.saga.run import SHARES, Executor, Task, ThreadPools


def no_failpoint(point: str):
    """The default: no failure."""


# Tests that crash at a point replace this failpoint.
failpoint: Callable[[str], None] = no_failpoint


def at(point: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A failpoint that acts at one point, and raises the exception that `act` returns, if it does."""

    def reach(reached):
        if reached == point and isinstance(error := act(), BaseException):
            raise error

    return reach


def due(*, limit: int) -> list[SagaRow]:
    """At most so many sagas of each class that are due."""
    return saga_rows.find_due(dict.fromkeys(SHARES, limit))


class SteppedPools(ThreadPools):
    """Runs an executor's tasks in the caller's thread, one at a time and in order."""

    def __init__(self):
        super().__init__({})
        self.tasks: deque[tuple[str, Task]] = deque()

    def submit(self, pool: str, task):
        self.tasks.append((pool, task))

    def pause(self, seconds: float):
        """No other thread runs."""

    def step(self) -> bool:
        """Run the next task. Returns False if there is none."""
        if not self.tasks:
            return False
        _, task = self.tasks.popleft()
        task()
        return True


class SteppedExecutor(Executor):
    """An executor that advances one saga at a time."""

    def __init__(self):
        self.pools = SteppedPools()
        super().__init__(pools=self.pools, failpoint=lambda point: failpoint(point))

    def advance(self, saga_id: UUID) -> str:
        """Advance the saga as far as possible now, whether it is due or not. Returns its state."""
        saga = saga_rows.read_sagas([saga_id])[saga_id]
        saga.lease_token = ""
        self._sagas[saga_id] = saga
        self._advance([saga], DO)
        while self.pools.step():
            pass
        return Saga.objects.values_list("state", flat=True).get(id=saga_id)


class Delegate:
    """Uses a new executor for each saga that is due, by `advance`, which tests may replace."""

    def advance(self, saga_id: UUID) -> str:
        return advance(saga_id)

    def lease_new(self, sagas: Sequence[SagaRow]) -> list[SagaRow]:
        return []

    def wake(self):
        for saga in due(limit=100):
            self.advance(saga.id)


def advance(saga_id: UUID) -> str:
    """Advance the saga as far as possible now, by a new executor. Returns its state."""
    return SteppedExecutor().advance(saga_id)
