"""The time: the database's, for every process of the shop, whatever the clock of its host says.

Leases, openings and expiries are instants that one process writes and another compares. So all of them read
one clock, the database's: a thread measures its offset from this host's monotonic clock every 30 seconds, and
`now` adds the two without a query. On SQLite there is one host, and its wall clock is the time.

A measurement asks for the time a few times and keeps the answer with the shortest round trip, which is wrong
by half of that trip at most. A correction forwards applies at once. One backwards of up to a second is
slewed: `now` runs at half speed until it is made up for, so that it never goes back. One of more than a
second, such as a failover to a server with another clock, applies at once and is logged: processes that
disagree do more harm than an instant that comes twice.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections
from structlog import get_logger

log = get_logger(__name__)
PERIOD_SECONDS = 30.0
# After a failed measurement: the database may be back at any moment.
RETRY_SECONDS = 1.0
SAMPLES = 5
# The first caller waits for the first measurement, but not for a database that hangs.
FIRST_MEASUREMENT_SECONDS = 5.0
SLEW_SPEED = 0.5
LARGEST_SLEW_SECONDS = 1.0
# A supervisor restarts a process that exits: it should not do so all the time.
REFUSAL_PAUSE_SECONDS = 2.0
# Unlike CLOCK_MONOTONIC it keeps counting while the machine is suspended. Other systems than Linux lack it.
TICKS: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_host_seconds = time.time


@dataclass(frozen=True, slots=True)
class Measurement:
    """The database's time against this host's clocks, all in seconds.

    `base_seconds` plus the monotonic clock is the database's time since the epoch, wrong by `error_seconds`
    at most. `host_offset_seconds` is how far the host's wall clock is ahead of the database's.
    """

    base_seconds: float
    error_seconds: float
    host_offset_seconds: float
    measured_ticks: float


class _Reading(NamedTuple):
    """What turns ticks into the time: the later of `ticks + base` and `ticks * SLEW_SPEED + floor`."""

    base: float
    floor: float


_mutex = threading.Lock()
_has_begun = False
_thread: threading.Thread | None = None
_stop = threading.Event()
_reading: _Reading | None = None
_measured_ticks = 0.0
_is_drifting = False
_shift_seconds = 0.0


def now() -> datetime:
    """The current time in UTC. Runs no query, but for a process's first call, which waits for a measurement.

    Before the first measurement succeeds it is the host's wall clock, and the process is not ready.
    """
    if not _has_begun:
        _begin()
    reading = _reading
    if reading is None:
        seconds = _host_seconds()
    else:
        ticks = time.clock_gettime(TICKS)
        base, floor = reading
        seconds = ticks + base
        slewed = ticks * SLEW_SPEED + floor
        if slewed > seconds:
            seconds = slewed
    return datetime.fromtimestamp(seconds + _shift_seconds, UTC)


def start() -> None:
    """Begin to measure; for the start of a process that serves. Ends it as `refuse_skewed_host` does."""
    if not _has_begun:
        refuse_skewed_host()
        _begin()


def refuse_skewed_host() -> None:
    """End this process with exit code 1 if the host's clock is more than `CLOCK_SKEW_SECONDS` off.

    A database that can't be reached is no reason to: the process waits for it, and is not ready.
    """
    if not _follows_database():
        return
    try:
        measurement = measure()
    except Error as error:
        log.warning("the database's time can't be read at the start", error=str(error))
        return
    _refuse_if_skewed(measurement)


def is_measured() -> bool:
    """Whether `now` is the database's time; always so where the host's clock is the database's."""
    if not _has_begun:
        _begin()
    return _thread is None or _reading is not None


def host_offset_seconds() -> float | None:
    """How far the host's wall clock is ahead of the database's at this moment; None when that is unknown."""
    reading = _reading
    if reading is None:
        return None
    return _host_seconds() - (time.clock_gettime(TICKS) + reading.base)


def measurement_age_seconds() -> float | None:
    """How long ago the last measurement was made; None when there is none."""
    return None if _reading is None else time.clock_gettime(TICKS) - _measured_ticks


def measure() -> Measurement:
    """Measure the database's time on a connection of its own, outside any transaction. Raises `Error`."""
    with closing(connections.create_connection(DEFAULT_DB_ALIAS)) as own, own.cursor() as cursor:
        samples = [_sample(cursor) for _ in range(SAMPLES)]
    return min(samples, key=lambda sample: sample.error_seconds)


@contextmanager
def shifted(*, by: timedelta) -> Iterator[None]:
    """Shift `now` in all threads of this process (tests)."""
    global _shift_seconds
    before = _shift_seconds
    _shift_seconds = before + by.total_seconds()
    try:
        yield
    finally:
        _shift_seconds = before


def follow_host() -> None:
    """Stop measuring: from now on the host's wall clock is the time (tests)."""
    global _has_begun, _thread, _reading, _is_drifting
    with _mutex:
        thread, _thread = _thread, None
        _stop.set()
        if thread is not None:
            thread.join()
        _has_begun, _reading, _is_drifting = True, None, False


def _begin() -> None:
    """Start the thread that measures, once in this process, and wait for its first attempt."""
    global _has_begun, _thread, _stop
    with _mutex:
        if _has_begun:
            return
        if _follows_database():
            _stop, attempted = threading.Event(), threading.Event()
            _thread = threading.Thread(
                target=_keep_measuring, args=(_stop, attempted), name="clock", daemon=True
            )
            _thread.start()
            attempted.wait(FIRST_MEASUREMENT_SECONDS)
        _has_begun = True


def _follows_database() -> bool:
    """A SQLite database has no clock but the host's."""
    return connection.vendor == "mysql"


def _keep_measuring(stop: threading.Event, attempted: threading.Event) -> None:
    is_failing = False
    while True:
        try:
            _adopt(measure())
            is_failing = False
        except Exception as error:
            # Whatever is wrong, this thread has to go on: without it the time would drift for good.
            if not is_failing:
                log.warning("the database's time can't be read; trying every second", error=str(error))
            is_failing = True
        attempted.set()
        if stop.wait(RETRY_SECONDS if is_failing else PERIOD_SECONDS):
            return


def _sample(cursor: Any) -> Measurement:
    asked_ticks = time.clock_gettime(TICKS)
    # The time at which the statement begins. It reads no table, so it waits for no lock.
    cursor.execute("SELECT UTC_TIMESTAMP(6)")
    answered_ticks, host_seconds = time.clock_gettime(TICKS), _host_seconds()
    database_seconds = cursor.fetchone()[0].replace(tzinfo=UTC).timestamp()
    base = database_seconds - (asked_ticks + answered_ticks) / 2
    return Measurement(
        base_seconds=base,
        error_seconds=(answered_ticks - asked_ticks) / 2,
        host_offset_seconds=host_seconds - (answered_ticks + base),
        measured_ticks=answered_ticks,
    )


def _adopt(measurement: Measurement) -> None:
    """Have `now` follow the measurement, unless it only repeats what is known less exactly."""
    global _reading, _measured_ticks
    _measured_ticks = measurement.measured_ticks
    before = _reading
    if before is None:
        _reading = _Reading(measurement.base_seconds, -math.inf)
    # Within its error it says nothing new: on a busy machine later measurements are worse than the first.
    elif abs(measurement.base_seconds - before.base) > measurement.error_seconds:
        _reading = _corrected(before, measurement.base_seconds)
    _report_drift(measurement.host_offset_seconds)


def _corrected(before: _Reading, base: float) -> _Reading:
    """The reading with the new base; small steps backwards are slewed."""
    ticks = time.clock_gettime(TICKS)
    shown = max(ticks + before.base, ticks * SLEW_SPEED + before.floor)
    correction = ticks + base - shown
    if abs(correction) > LARGEST_SLEW_SECONDS:
        log.warning("the database's clock has changed; following it", seconds=round(correction, 3))
    is_slewed = -LARGEST_SLEW_SECONDS <= correction < 0
    return _Reading(base, shown - ticks * SLEW_SPEED if is_slewed else -math.inf)


def _report_drift(offset_seconds: float) -> None:
    """Log once that the host's clock has left the limit, and once that it is well within it again."""
    global _is_drifting
    limit = settings.CLOCK_SKEW_SECONDS
    if not _is_drifting and abs(offset_seconds) > limit:
        _is_drifting = True
        log.warning(
            "this host's clock is off; going on by the database's. Have both follow one time server",
            seconds_ahead=round(offset_seconds, 3),
            limit_seconds=limit,
        )
    elif _is_drifting and abs(offset_seconds) < limit / 2:
        _is_drifting = False
        log.warning("this host's clock agrees with the database's again")


def _refuse_if_skewed(measurement: Measurement) -> None:
    offset, limit = measurement.host_offset_seconds, settings.CLOCK_SKEW_SECONDS
    if abs(offset) - measurement.error_seconds <= limit:
        return
    direction = "ahead of" if offset > 0 else "behind"
    print(
        f"firstcome: not starting: this host's clock is {abs(offset):.1f} s {direction} the database's, "
        f"and CLOCK_SKEW_SECONDS allows {limit:g} s. Have both follow one time server (chrony, "
        "systemd-timesyncd), then start again.",
        file=sys.stderr,
        flush=True,
    )
    time.sleep(REFUSAL_PAUSE_SECONDS)
    raise SystemExit(1)


def _restart_after_fork() -> None:
    """A fork takes no thread along: the child's first call of `now` starts one."""
    global _mutex, _has_begun, _thread
    if _thread is not None:
        _mutex, _has_begun, _thread = threading.Lock(), False, None


os.register_at_fork(after_in_child=_restart_after_fork)
