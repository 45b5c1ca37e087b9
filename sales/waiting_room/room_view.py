"""The waiting rooms as one process remembers them: a poll of an entry that waits runs no statement.

A thread reads the unended sales once or twice a second, and the places of their entries as they are given; an
entry waits as long as its place is beyond the sale's `passed_position`. Every poll while the memory is not
current is read from the database. It may say that an entry waits which was just admitted, never the reverse.
"""

import time
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import Any
from uuid import UUID

from sales.models import Sale, SaleEntry
from sales.waiting_room import admission
from sales.waiting_room.admission import WINDOW
from sales.waiting_room.entries import Entry, Status
from shop import clock
from shop.db import transactions

CURRENT_SECONDS = 2.0
"""The age up to which what is remembered answers polls."""
PLACES_PER_STATEMENT = 10_000
MOST_PLACES = 200_000
"""Remembered at once; further entries are read from the database. One takes some 250 bytes."""
WINDOW_SECONDS = WINDOW.total_seconds()
READ_BEFORE_OPENING = timedelta(minutes=10)
"""Sales that open later are not remembered yet."""
HELD_BACK = 0.9
"""With fewer admissions in a minute than this share of the rate, the stock decides the pace, not the rate."""


@dataclass(slots=True)
class _Room:
    """A sale's waiting room as it was last read. `seen` is replaced, and never changed: other threads read
    it.
    """

    opens_at: datetime
    closes_at: datetime
    is_paused: bool
    rate_per_minute: int
    passed_position: int = 0
    loaded_position: int = 0
    read_at: float = 0.0
    seen: "_Seen | None" = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last minute's readings of the passed position, since the sale moves at its present rate, and their
    instants by the monotonic clock.
    """

    passed: tuple[int, ...]
    at: tuple[float, ...]

    def with_reading(self, passed: int, at: float) -> "_Seen":
        """With one more; one that is older than the window stays, so that the window is covered."""
        first = 0
        while first + 1 < len(self.at) and self.at[first + 1] < at - WINDOW_SECONDS:
            first += 1
        return _Seen((*self.passed[first:], passed), (*self.at[first:], at))


@dataclass(frozen=True, slots=True)
class _Place:
    account_id: int
    sale_id: int
    position: int


_rooms: dict[int, _Room] = {}
_places: dict[UUID, _Place] = {}


def find_waiting(entry_id: UUID) -> Entry | None:
    """The entry, if it is known to wait; None if the database has to be asked."""
    place = _places.get(entry_id)
    room = _rooms.get(place.sale_id) if place else None
    if place is None or room is None or time.monotonic() - room.read_at > CURRENT_SECONDS:
        return None
    ahead = place.position - room.passed_position - 1
    if ahead < 0 or clock.now() >= room.closes_at:
        return None
    return Entry(
        entry_id,
        place.sale_id,
        place.account_id,
        Status.WAITING,
        place.position,
        ahead,
        None,
        room.opens_at,
        room.rate_per_minute,
    )


def estimated_wait_seconds(entry: Entry) -> int | None:
    """After how many seconds a waiting entry will probably be admitted; None while that is unknown. By the
    rate, and by the admissions of the last minute.
    """
    if entry.status == Status.ADMITTED:
        return 0
    if entry.status != Status.WAITING or entry.ahead is None:
        return None
    room = _rooms.get(entry.sale_id)
    if room is not None and room.is_paused:
        return None
    if room is None or room.seen is None:
        return ceil((entry.ahead + 1) * WINDOW_SECONDS / entry.rate_per_minute)
    seconds = _seconds_until_admitted(room.seen, room.rate_per_minute, entry.ahead)
    return None if seconds is None else max(1, ceil(seconds))


def _seconds_until_admitted(seen: _Seen, rate: int, ahead: int) -> float | None:
    """The seconds until the pace and the rate have room for the entry that has so many ahead."""
    seen_seconds, used = seen.at[-1] - seen.at[0], seen.passed[-1] - seen.passed[0]
    if seen_seconds >= WINDOW_SECONDS and used < HELD_BACK * rate:
        return (ahead + 1) * seen_seconds / used if used else None
    seconds_at_pace = (ahead + 1) / admission.pace_per_second(rate)
    return max(seconds_at_pace, _seconds_until_in_window(seen, rate, ahead))


def _seconds_until_in_window(seen: _Seen, rate: int, ahead: int) -> float:
    """The seconds until so many admissions of the last minute have left the window that there is room."""
    used = seen.passed[-1] - seen.passed[0]
    free = max(rate - used, 0)
    if ahead < free:
        return 0
    windows, place = divmod(ahead - free, rate)
    if place < used:
        # It follows the admission at this place of the last minute, when that leaves the window.
        leaving = seen.at[bisect_right(seen.passed, seen.passed[0] + place)]
        return leaving - seen.at[-1] + WINDOW_SECONDS * (windows + 1)
    return (place - used) / admission.pace_per_second(rate) + WINDOW_SECONDS * (windows + 1)


def refresh() -> list[int]:
    """Read the waiting rooms of unended sales; returns those in which entries wait, or whose draw is due."""
    now = clock.now()
    soon = Sale.objects.filter(ended_at=None, opens_at__lte=now + READ_BEFORE_OPENING)
    rows = transactions.read(lambda: list(soon.filter(admission=Sale.Admission.QUEUE).order_by("pk")))
    read_at = time.monotonic()
    for sale in rows:
        _remember(sale, read_at, is_moving=sale.opens_at <= now and sale.paused_at is None)
    if gone := _rooms.keys() - {sale.pk for sale in rows}:
        for sale_id in gone:
            del _rooms[sale_id]
        _drop_passed()
    for sale in rows:
        if sale.is_ordered:
            _load_places(sale)
    return [
        sale.pk
        for sale in rows
        if sale.opens_at <= now
        and (sale.drawn_at is None or not sale.is_ordered or sale.last_position > sale.passed_position)
    ]


def is_used() -> bool:
    """Whether there is a waiting room of an unended sale."""
    return bool(_rooms)


def clear() -> None:
    """Forget everything (tests)."""
    _rooms.clear()
    _places.clear()


def _remember(sale: Sale, read_at: float, *, is_moving: bool) -> None:
    room = _rooms.setdefault(
        sale.pk, _Room(sale.opens_at, sale.closes_at, False, sale.rate_per_minute, sale.passed_position)
    )
    # Where it stood before it moved: entries may be admitted between its opening and this reading.
    start = _Seen((room.passed_position,), (room.read_at,)) if room.read_at else _Seen((), ())
    if not is_moving or room.rate_per_minute != sale.rate_per_minute:
        # What was measured before says nothing of the time after.
        room.seen = None
    room.opens_at, room.closes_at = sale.opens_at, sale.closes_at
    room.is_paused, room.rate_per_minute = sale.paused_at is not None, sale.rate_per_minute
    room.passed_position = sale.passed_position
    room.read_at = read_at
    if is_moving:
        room.seen = (room.seen or start).with_reading(sale.passed_position, read_at)


def _load_places(sale: Sale) -> None:
    """Remember the places that were given since the last time."""
    room = _rooms[sale.pk]
    room.loaded_position = max(room.loaded_position, sale.passed_position)
    while room.loaded_position < sale.last_position and len(_places) < MOST_PLACES:
        found = SaleEntry.objects.filter(sale=sale, position__gt=room.loaded_position).order_by("position")
        values = found.values_list("id", "account_id", "position")[:PLACES_PER_STATEMENT]
        rows: list[tuple[UUID, int, Any]] = transactions.read(partial(list, values))
        if not rows:
            return
        _places.update({id: _Place(account_id, sale.pk, position) for id, account_id, position in rows})
        room.loaded_position = rows[-1][2]
    if len(_places) > 2 * (sale.last_position - sale.passed_position) + PLACES_PER_STATEMENT:
        _drop_passed()


def _drop_passed() -> None:
    """Forget the places of entries that wait no more."""
    for entry_id, place in list(_places.items()):
        room = _rooms.get(place.sale_id)
        if room is None or place.position <= room.passed_position:
            del _places[entry_id]
