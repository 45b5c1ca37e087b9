"""The time: every process of the shop uses the database's clock, not its host's.

A thread measures its offset from this host's monotonic clock every 30 seconds, and `now` adds the two without
a query; a correction applies at once, also backwards. On SQLite the host's wall clock is used.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time as time_of_day, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections
from django.db.models import Q
from structlog import get_logger

from foundation import starting
from foundation.repeated_work import RepeatedWork

log = get_logger(__name__)
PERIOD_SECONDS = 30.0
# After a failed measurement: the database may be back at any moment.
RETRY_SECONDS = 1.0
SAMPLES = 5
# The first caller waits for the first measurement, but not for a database that hangs.
FIRST_MEASUREMENT_SECONDS = 5.0
# A larger correction is logged.
USUAL_CORRECTION_SECONDS = 1.0
# A bound that is too small ends live leases: processes' ideas of the time, and settings, may differ.
MARGIN_SECONDS = 120.0
# Unlike CLOCK_MONOTONIC it advances while the machine is suspended. Only Linux has it.
TICKS: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_host_seconds = time.time


class Measurement(NamedTuple):
    """The database's time against this host's clocks, all in seconds.

    `base_seconds` plus the monotonic clock is the database's time since the epoch, within `error_seconds`.
    `host_offset_seconds` is how far the host's wall clock is ahead of the database's.
    """

    base_seconds: float
    error_seconds: float
    host_offset_seconds: float
    measured_ticks: float


_mutex = threading.Lock()
_has_begun = False
_measuring: RepeatedWork | None = None
_attempted = threading.Event()
# What ticks and the time differ by, once it is measured.
_base: float | None = None
_measured_ticks = 0.0
_shift_seconds = 0.0


def now() -> datetime:
    """The current time in UTC, without a query but for a process's first call; the host's until measured."""
    return datetime.fromtimestamp(seconds(), UTC)


def seconds() -> float:
    """`now` in seconds since the epoch."""
    if not _has_begun:
        _begin()
    base = _base
    return (_host_seconds() if base is None else time.clock_gettime(TICKS) + base) + _shift_seconds


def age_seconds(at: datetime) -> float:
    """How long ago this instant was; 0 for one that is to come."""
    return max(0.0, (now() - at).total_seconds())


def local(at: datetime) -> datetime:
    """The instant in the shop's time zone."""
    return at.astimezone(ZoneInfo(settings.SHOP_TIME_ZONE))


def day_of(at: datetime) -> date:
    """The day of the shop's time zone on which this instant is."""
    return local(at).date()


def today() -> date:
    """The shop's day now."""
    return day_of(now())


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The instants, in UTC, at which a day of the shop's time zone begins and the next one does."""
    zone = ZoneInfo(settings.SHOP_TIME_ZONE)
    begin, end = (datetime.combine(day + timedelta(days=more), time_of_day(), zone) for more in (0, 1))
    return begin.astimezone(UTC), end.astimezone(UTC)


def read_database() -> datetime:
    """The database's time at this instant, by a query: the same in all processes, also after a failover."""
    if not _follows_database():
        return now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT UTC_TIMESTAMP(6)")
        [instant] = cursor.fetchone()
    return instant.replace(tzinfo=UTC) + timedelta(seconds=_shift_seconds)


def start() -> None:
    """Refuse a host whose clock is wrong, then measure from now on."""
    refuse_skewed_host()
    _begin()


def refuse_skewed_host() -> None:
    """End this process with exit code 1 if the host's clock is more than `CLOCK_SKEW_SECONDS` off.

    If the database can't be reached, the process continues, and is not ready until it can.
    """
    if not _follows_database():
        return
    try:
        measurement = measure()
    except Error as error:
        log.warning("the database's time can't be read at the start", error=error)
        return
    offset = measurement.host_offset_seconds
    limit = settings.CLOCK_SKEW_SECONDS
    if abs(offset) - measurement.error_seconds <= limit:
        return
    direction = "ahead of" if offset > 0 else "behind"
    starting.refuse(
        f"this host's clock is {abs(offset):.1f} s {direction} the database's, and CLOCK_SKEW_SECONDS allows "
        f"{limit:g} s. Let both follow one time server (chrony, systemd-timesyncd), then start again."
    )


def is_measured() -> bool:
    """Whether `now` is the database's time; always true on SQLite, which uses the host's clock."""
    if not _has_begun:
        _begin()
    return _measuring is None or _base is not None


def host_offset_seconds() -> float | None:
    base = _base
    return None if base is None else _host_seconds() - (time.clock_gettime(TICKS) + base)


def measurement_age_seconds() -> float | None:
    return None if _base is None else time.clock_gettime(TICKS) - _measured_ticks


def measure() -> Measurement:
    """Measure the database's time on a separate connection, outside any transaction. Raises `Error`."""
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


def _begin() -> None:
    global _has_begun, _measuring
    with _mutex:
        if _has_begun:
            return
        if _follows_database():
            _attempted.clear()
            _measuring = RepeatedWork(
                _follow_database,
                name="clock",
                pause=_pause,
                begins_at_once=True,
                failing="the database's time can't be read",
            )
            _measuring.start()
            _attempted.wait(FIRST_MEASUREMENT_SECONDS)
        _has_begun = True


def _follows_database() -> bool:
    return connection.vendor == "mysql"


def _follow_database() -> None:
    try:
        _adopt(measure())
    finally:
        _attempted.set()


def _pause() -> float:
    age_seconds = measurement_age_seconds()
    return PERIOD_SECONDS if age_seconds is not None and age_seconds < RETRY_SECONDS else RETRY_SECONDS


def _sample(cursor: Any) -> Measurement:
    sent_ticks = time.clock_gettime(TICKS)
    # The time at which the statement starts. It reads no table, so it waits for no lock.
    cursor.execute("SELECT UTC_TIMESTAMP(6)")
    received_ticks = time.clock_gettime(TICKS)
    host_seconds = _host_seconds()
    database_seconds = cursor.fetchone()[0].replace(tzinfo=UTC).timestamp()
    base = database_seconds - (sent_ticks + received_ticks) / 2
    return Measurement(
        base_seconds=base,
        error_seconds=(received_ticks - sent_ticks) / 2,
        host_offset_seconds=host_seconds - (received_ticks + base),
        measured_ticks=received_ticks,
    )


def _adopt(measurement: Measurement) -> None:
    """Make `now` follow the measurement, unless it agrees with the current reading within its error."""
    global _base, _measured_ticks
    _measured_ticks = measurement.measured_ticks
    correction = measurement.base_seconds - _base if _base is not None else 0.0
    if _base is None or abs(correction) > measurement.error_seconds:
        _base = measurement.base_seconds
    if abs(correction) > USUAL_CORRECTION_SECONDS:
        log.warning("the database's clock has changed; following it", seconds=round(correction, 3))
    if abs(measurement.host_offset_seconds) > settings.CLOCK_SKEW_SECONDS:
        log.warning(
            "this host's clock is off; continuing with the database's. Let both follow one time server",
            seconds_ahead=round(measurement.host_offset_seconds, 3),
            limit_seconds=settings.CLOCK_SKEW_SECONDS,
        )


def _restart_after_fork() -> None:
    """Reset a forked process, which has no measuring thread: its first call of `now` starts one."""
    global _mutex, _has_begun, _measuring
    if _measuring is not None:
        _mutex = threading.Lock()
        _has_begun = False
        _measuring = None


os.register_at_fork(after_in_child=_restart_after_fork)


# Instants in rows, also those that were written before the clock was set back: after a failover it may be
# minutes behind, and a lease, or a pause before the next attempt, would last that much longer. One that ends
# farther ahead than any can is over.


def has_come(column: str, *, most_seconds: float, at: datetime | None = None) -> Q:
    """The condition that the column's instant has come; it is at most so many seconds ahead when written."""
    at = at or now()
    return Q(**{f"{column}__lte": at}) | Q(**{f"{column}__gt": _farthest(at, most_seconds)})


def has_come_sql(column: str, cells: Mapping[Any, str], *, most_seconds: float) -> str:
    """The same in SQL; `cells` writes a value."""
    at = now()
    return f"({column} <= {cells[at]} OR {column} > {cells[_farthest(at, most_seconds)]})"


def is_past(instant: datetime, at: datetime, *, most_seconds: float) -> bool:
    """The same of an instant that was read."""
    return instant <= at or instant > _farthest(at, most_seconds)


def _farthest(at: datetime, most_seconds: float) -> datetime:
    return at + timedelta(seconds=most_seconds + MARGIN_SECONDS)
