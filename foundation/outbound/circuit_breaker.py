"""A circuit breaker for another system: while that is unavailable, a process's calls fail at once."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge
from structlog import get_logger

log = get_logger(__name__)
OPEN = Gauge(
    "firstcome_circuit_open",
    "1 while calls of the system fail at once: from failures in a row until a call succeeds.",
    ["circuit"],
    multiprocess_mode="livemax",
)
LONGEST_PROBE_SECONDS = 5.0


class CircuitOpen(Exception):
    """The system is unavailable: the call was not made."""


class CircuitBreaker:
    """Opens for some `seconds` after this many `failures` in a row; then one call at a time is a probe. The
    failure of a guarded call during which another has succeeded is none of the system's.

    A success closes it. A probe that reports nothing for `LONGEST_PROBE_SECONDS` gives way to the next one.
    """

    def __init__(self, name: str, *, failures: int = 1, seconds: float = 1.0) -> None:
        self._name = name
        self._gauge = OPEN.labels(name)
        self._gauge.set(0)
        self._failures_to_open = failures
        self._seconds = seconds
        self._mutex = threading.Lock()
        self._failures = self._successes = 0
        self._open_until: float | None = None
        """None while it is closed; during a probe the instant at which the probe is replaced."""

    @property
    def is_open(self) -> bool:
        """Whether a call would fail at once: after failures, or while another call is the probe."""
        open_until = self._open_until
        return open_until is not None and time.monotonic() < open_until

    def allows_call(self) -> bool:
        """Whether the call may be made; then its result must be reported by `record_success` or
        `record_failure`.
        """
        return self._open_until is None or self._admits_probe(LONGEST_PROBE_SECONDS)

    def record_success(self) -> None:
        """Close the circuit."""
        with self._mutex:
            self._failures = 0
            self._successes += 1
            if self._open_until is not None:
                self._open_until = None
                self._gauge.set(0)

    def record_failure(self) -> None:
        """Count a failure, and open the circuit after enough of them in a row."""
        with self._mutex:
            self._failures += 1
            if self._failures >= self._failures_to_open:
                self._open_until = time.monotonic() + self._seconds
                self._gauge.set(1)

    @contextmanager
    def guard(self, *failures: type[Exception]) -> Iterator[None]:
        """Wrap one call, of which only exceptions of these types are failures.

        Any other exception shows that the system is available. Raises `CircuitOpen`, without the call, while
        the circuit is open.
        """
        # The block always reports its result, so its probe is not replaced, however long the call takes.
        if self._open_until is not None and not self._admits_probe(math.inf):
            raise CircuitOpen(f"{self._name} is unavailable")
        successes = self._successes
        try:
            yield
        except failures as error:
            if successes == self._successes:
                self.record_failure()
            if self.is_open:
                log.error(f"{self._name} counts as unavailable", for_seconds=self._seconds, reason=error)
            raise
        except BaseException:
            self.record_success()
            raise
        self.record_success()

    def _admits_probe(self, seconds: float) -> bool:
        """Whether the call may be made: as the probe, for so many seconds, unless the circuit has closed."""
        with self._mutex:
            if self.is_open:
                return False
            if self._open_until is not None:
                self._open_until = time.monotonic() + seconds
            return True
