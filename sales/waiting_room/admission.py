"""Admission: how many entries a sale lets in, when, and up to which place.

In any 60 seconds at most `rate_per_minute` are admitted, evenly. The instants of admissions never go back: a
sale keeps by how much its clock of admissions is ahead of the database's, which a failover may have set back.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from sales.sale_states import SaleState

WINDOW = timedelta(seconds=60)
# Admissions are spread evenly over the minute. Those of so many seconds at most are made up for at once: at
# first, after a late tick, and when none could be admitted.
PACE_WINDOW = timedelta(seconds=2)
# Entries that one transaction ends: their rows are locked until it commits. Another one follows.
ENDED_AT_ONCE = 5_000
# So long after the last admission a process waits for the lock, which those that join hold most of the time.
PATIENT_AFTER = timedelta(seconds=1)
# By how much the clocks of two processes may differ, and a correction of one may take it back.
LARGEST_STEP = timedelta(seconds=2)


class Admission(NamedTuple):
    """The last place that is admitted, and when the next one is due."""

    last: int
    next_admission_at: datetime


def is_late(sale: SaleState, now: datetime) -> bool:
    """Whether a sale that another process holds is waited for. Not while that may close its draw, which takes
    as long as the ids of all entries.
    """
    last = sale.last_admitted_at
    return sale.is_ordered and (last is None or now + sale.admission_clock_ahead - last > PATIENT_AFTER)


def read_clock(sale: SaleState, now: datetime) -> tuple[datetime, timedelta]:
    """This instant by the sale's clock of admissions, and by how much that is ahead from now on."""
    at = now + sale.admission_clock_ahead
    latest = max(at, sale.last_admitted_at or at)
    return latest, latest - now if latest - at > LARGEST_STEP else sale.admission_clock_ahead


def decide(sale: SaleState, now: datetime, *, admitted_in_window: int) -> Admission | None:
    """What the rate allows now, by the sale's clock of admissions, after so many in the last `WINDOW`."""
    interval = WINDOW // sale.rate_per_minute
    next_at = _next_admission(sale, now, interval)
    number = min(
        sale.rate_per_minute - admitted_in_window,
        sale.last_position - sale.passed_position,
        (now - next_at) // interval + 1,
    )
    if number <= 0:
        return None
    return Admission(sale.passed_position + number, next_at + number * interval)


def last_to_end(sale: SaleState) -> int:
    """The place up to which entries end while nothing is on hand; some at once."""
    return min(sale.last_position, sale.passed_position + ENDED_AT_ONCE)


def _next_admission(sale: SaleState, now: datetime, interval: timedelta) -> datetime:
    """When the next admission is due, one each `interval`: the generic cell rate algorithm (ITU-T I.371)."""
    if sale.next_admission_at is None or sale.last_admitted_at is None:
        return now - max(PACE_WINDOW - interval, timedelta(0))
    # The rate may have been raised since.
    next_at = min(sale.next_admission_at, sale.last_admitted_at + interval)
    return max(next_at, now - PACE_WINDOW)
