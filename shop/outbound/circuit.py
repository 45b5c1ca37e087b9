"""A circuit breaker for another system: while it is unavailable, calls fail at once instead of timing out.

It wraps the `circuitbreaker` library; its state is per process.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker
from structlog import get_logger

log = get_logger(__name__)


class Circuit:
    """Opens for some `seconds` after this many `failures` in a row; then one call at a time is let through.

    Only exceptions of the type `counted` are failures: it should mean that the system doesn't answer. `away`
    makes the exception for calls that are refused meanwhile.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        seconds: float,
        counted: type[Exception],
        away: Callable[[], Exception],
    ) -> None:
        self._name = name
        self._seconds = seconds
        self._counted_kind = counted
        self._away = away
        self._breaker = CircuitBreaker(
            failure_threshold=failures, recovery_timeout=seconds, expected_exception=counted, name=name
        )
        # Without it all waiting calls would be made at once when the time is over, and time out together.
        self._trying = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether a call would fail at once: the breaker is open, or half-open and another call is trying."""
        return bool(self._breaker.opened) or (self.is_half_open and self._trying.locked())

    @property
    def is_half_open(self) -> bool:
        """Whether the next call is let through as a trial."""
        return bool(self._breaker.state == STATE_HALF_OPEN)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Wrap one call. Raises the exception of `away`, without the call, while the circuit is open."""
        if self.is_open:
            raise self._away()
        if not self.is_half_open:
            with self._counted():
                yield
            return
        if not self._trying.acquire(blocking=False):
            raise self._away()
        try:
            with self._counted():
                yield
        finally:
            self._trying.release()

    def forget(self) -> None:
        """Close the circuit (tests)."""
        self._breaker.reset()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            with self._breaker:
                yield
        except self._counted_kind as error:
            if self.is_open:
                log.error(f"{self._name} counts as unavailable", for_seconds=self._seconds, reason=str(error))
            raise
