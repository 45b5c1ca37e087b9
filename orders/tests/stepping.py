"""Sagas advanced in the test's own thread, a task at a time: what fails there fails the test."""

from collections.abc import Callable, Iterable
from uuid import UUID

from orders.saga.executor import Executor
from orders.saga.pools import SteppedPools


def no_failpoint(point: str) -> None:
    """Nothing fails here."""


# Tests that crash at a point put a failpoint of their own here.
failpoint: Callable[[str], None] = no_failpoint


def executor() -> Executor:
    """A new one, as a process has it after its start: it holds no leases yet."""
    return Executor(pools=SteppedPools(), failpoint=lambda point: failpoint(point))


class Delegate:
    """An executor of its own for each call, by way of `advance`, which tests may replace."""

    def advance(self, saga_id: UUID, *, seconds: float = 0) -> str:
        return advance(saga_id)

    def accept(self, saga_ids: Iterable[UUID], *, seconds: float = 0) -> None:
        for saga_id in saga_ids:
            advance(saga_id)


def advance(saga_id: UUID) -> str:
    """Advance the saga as far as it goes now, by an executor of its own. Returns its state."""
    return executor().advance(saga_id)
