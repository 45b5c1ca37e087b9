"""How long a waiting entry will probably wait: by the rate of its sale, or by what was admitted lately."""

from collections.abc import Sequence
from datetime import datetime
from math import ceil, inf
from typing import NamedTuple

from sales.sale_states import EntryStatus, SaleState
from sales.waiting_room.admission import WINDOW
from sales.waiting_room.entries import Entry

WINDOW_SECONDS = WINDOW.total_seconds()
HELD_BACK = 0.9
"""With fewer admissions in a minute than this share of the rate, the stock decides the pace, not the rate."""


class Reading(NamedTuple):
    """The passed position of a sale at an instant by the monotonic clock, in seconds."""

    at: float
    passed: int


def wait_seconds(
    entry: Entry, sale: SaleState | None, readings: Sequence[Reading], now: datetime
) -> int | None:
    """After how many seconds the entry will be admitted, by its sale if that is known; None while unknown."""
    if entry.status == EntryStatus.ADMITTED:
        return 0
    if entry.status != EntryStatus.WAITING or entry.ahead is None:
        return None
    if sale is None:
        return ceil((entry.ahead + 1) * WINDOW_SECONDS / entry.rate_per_minute)
    if sale.paused_at is not None:
        return None
    until_next, between = _pace(sale, readings, now)
    return None if between == inf else max(1, ceil(until_next + entry.ahead * between))


def _pace(sale: SaleState, readings: Sequence[Reading], now: datetime) -> tuple[float, float]:
    """The seconds until the next admission and between two of them: by the rate, or by the admissions of the
    last minute if they were fewer.
    """
    rate = sale.rate_per_minute
    if readings:
        seconds = readings[-1].at - readings[0].at
        used = readings[-1].passed - readings[0].passed
        # One may be due just after the minute.
        if seconds >= WINDOW_SECONDS and used + 1 < HELD_BACK * rate:
            between = seconds / used if used else inf
            return between, between
    between = WINDOW_SECONDS / rate
    until_next = 0.0
    if sale.next_admission_at is not None:
        until_next = (sale.next_admission_at - now - sale.admission_clock_ahead).total_seconds()
    return min(max(until_next, 0.0), between), between


def add_reading(readings: Sequence[Reading], latest: Reading) -> tuple[Reading, ...]:
    """The readings of the last minute, with the latest one."""
    kept = (*readings, latest)
    while len(kept) > 1 and kept[1].at < latest.at - WINDOW_SECONDS:
        # One that is older than the window stays, so that the window is covered.
        kept = kept[1:]
    return kept
