"""Advances sagas in the test's own thread, one task at a time: a failure fails the test."""

from collections.abc import Callable, Iterable
from uuid import UUID

from orders.saga.executor import Executor
from orders.saga.pools import SteppedPools


def no_failpoint(point: str) -> None:
    """The default: no failure."""


# Tests that crash at a point replace this failpoint.
failpoint: Callable[[str], None] = no_failpoint


def executor() -> Executor:
    """A new executor, without leases, as after the start of a process."""
    return Executor(pools=SteppedPools(), failpoint=lambda point: failpoint(point))


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
