"""A circuit breaker before somebody outside: while they are away, callers hear so at once instead of waiting.

The breaker is the `circuitbreaker` library's; each process has its own.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker
from structlog import get_logger

log = get_logger(__name__)


class Circuit:
    """Opens after so many `failures` in a row, for some seconds; then one caller at a time tries.

    Only exceptions of the kind `counted` are failures: say what it means that nobody is there. `away` makes
    the exception that callers hear meanwhile.
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
        # Without it all who wait would try at once when the time is over, and wait for the time-out together.
        self._trying = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether a call would hear at once that they are away: nobody is to try, or somebody does now."""
        return bool(self._breaker.opened) or (self.is_half_open and self._trying.locked())

    @property
    def is_half_open(self) -> bool:
        """Whether the next call tries whether they are back."""
        return bool(self._breaker.state == STATE_HALF_OPEN)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around one call. Raises what `away` makes, and nothing is called, while they are away."""
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
        """Think well of them again; for tests, where they come and go."""
        self._breaker.reset()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            with self._breaker:
                yield
        except self._counted_kind as error:
            if self.is_open:
                log.error(f"{self._name} counts as away", for_seconds=self._seconds, reason=str(error))
            raise
