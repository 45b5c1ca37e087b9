"""The waiting rooms as one process remembers them: a poll of an entry that waits runs no statement.

A thread reads the unended sales once or twice a second, and the places of their entries as they are given; an
entry waits as long as its place is beyond the sale's `passed_position`. Every poll while the memory is not
current is read from the database. It may say that an entry waits which was just admitted, never the reverse.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import ceil, inf
from typing import Any, NamedTuple
from uuid import UUID

from foundation import clock
from foundation.db import bulk_sql, transactions
from sales.models import Sale
from sales.waiting_room import entries
from sales.waiting_room.admission import WINDOW
from sales.waiting_room.entries import CurrentEntry, Entry, Status

CURRENT_SECONDS = 2.0
"""The age up to which what is remembered answers polls."""
PLACES_PER_STATEMENT = 10_000
PLACES_PER_READING = 10_000
"""Other sales wait meanwhile."""
MOST_PLACES = 200_000
"""Remembered at once; further entries are read from the database. One takes some 350 bytes."""
WINDOW_SECONDS = WINDOW.total_seconds()
READ_BEFORE_OPENING = timedelta(minutes=10)
"""Sales that open later are not remembered yet."""
HELD_BACK = 0.9
"""With fewer admissions in a minute than this share of the rate, the stock decides the pace, not the rate."""


class _Reading(NamedTuple):
    """The passed position of a sale at an instant by the monotonic clock."""

    at: float
    passed: int


@dataclass(slots=True)
class _Room:
    """A sale as it was last read, and its readings of the last minute, since it moves at its present rate.
    Another one replaces it, because other threads read it; only the loaded position changes.
    """

    sale: Sale
    read_at: float
    seen: tuple[_Reading, ...]
    loaded_position: int


_rooms: dict[int, _Room] = {}
_places: dict[UUID, CurrentEntry] = {}


def find_waiting(entry_id: UUID) -> Entry | None:
    """The entry, if it is known to wait; None if the database has to be asked."""
    place = _places.get(entry_id)
    room = _rooms.get(place.sale_id) if place else None
    if place is None or room is None or time.monotonic() - room.read_at > CURRENT_SECONDS:
        return None
    entry = entries.to_entry(place, room.sale, clock.now())
    return entry if entry.status == Status.WAITING and _waits(place, room) else None


def _waits(place: CurrentEntry, room: _Room) -> bool:
    return (place.position or 0) > room.sale.passed_position


def estimated_wait_seconds(entry: Entry) -> int | None:
    """After how many seconds a waiting entry will probably be admitted; None while that is unknown."""
    if entry.status == Status.ADMITTED:
        return 0
    if entry.status != Status.WAITING or entry.ahead is None:
        return None
    room = _rooms.get(entry.sale_id)
    if room is None:
        return ceil((entry.ahead + 1) * WINDOW_SECONDS / entry.rate_per_minute)
    if room.sale.paused_at is not None:
        return None
    until_next, between = _pace(room)
    return None if between == inf else max(1, ceil(until_next + entry.ahead * between))


def _pace(room: _Room) -> tuple[float, float]:
    """The seconds until the next admission and between two of them: by the rate, or by the admissions of the
    last minute if they were fewer.
    """
    rate = room.sale.rate_per_minute
    due_at = room.sale.next_admission_at
    if room.seen:
        seconds = room.seen[-1].at - room.seen[0].at
        used = room.seen[-1].passed - room.seen[0].passed
        # One may be due just after the minute.
        if seconds >= WINDOW_SECONDS and used + 1 < HELD_BACK * rate:
            between = seconds / used if used else inf
            return between, between
    between = WINDOW_SECONDS / rate
    until_next = 0.0
    if due_at is not None:
        until_next = (due_at - clock.now() - room.sale.admission_clock_ahead).total_seconds()
    return min(max(until_next, 0.0), between), between


def refresh() -> list[int]:
    """Read the waiting rooms of unended sales; returns those in which entries wait, or whose draw is due."""
    now = clock.now()
    cells = bulk_sql.SqlLiterals()
    unended = f"ended_at IS NULL AND opens_at <= {cells[now + READ_BEFORE_OPENING]} AND admission = 'queue'"
    # Once or twice a second in each process, and mostly for nothing: the ORM would take longer.
    rows = transactions.read(partial(bulk_sql.reader(Sale).models, f"{unended} ORDER BY id", cells))
    read_at = time.monotonic()
    for sale in rows:
        _remember(sale, read_at, is_moving=sale.opens_at <= now and sale.paused_at is None)
    if gone := _rooms.keys() - {sale.pk for sale in rows}:
        for sale_id in gone:
            del _rooms[sale_id]
        _drop_passed()
    return [
        sale.pk
        for sale in rows
        if sale.opens_at <= now
        and (sale.drawn_at is None or not sale.is_ordered or sale.last_position > sale.passed_position)
    ]


def clear() -> None:
    """Forget everything (tests)."""
    _rooms.clear()
    _places.clear()


def _remember(sale: Sale, read_at: float, *, is_moving: bool) -> None:
    before = _rooms.get(sale.pk)
    # What was measured at another rate says nothing of the time after.
    is_same = before is not None and before.sale.rate_per_minute == sale.rate_per_minute
    seen = before.seen if before and is_moving and is_same else ()
    if before and is_moving and not seen:
        # Where it stood before it moved: entries may be admitted between its opening and this reading.
        seen = (_Reading(before.read_at, before.sale.passed_position),)
    if is_moving:
        seen = (*seen, _Reading(read_at, sale.passed_position))
    while len(seen) > 1 and seen[1].at < read_at - WINDOW_SECONDS:
        # One that is older than the window stays, so that the window is covered.
        seen = seen[1:]
    loaded = max(before.loaded_position if before else 0, sale.passed_position)
    _rooms[sale.pk] = room = _Room(sale, read_at, seen, loaded)
    if sale.is_ordered:
        _load_places(room)


def _load_places(room: _Room) -> None:
    """Remember the places that were given since the last time, the first of many."""
    sale = room.sale
    last = min(room.sale.last_position, room.loaded_position + PLACES_PER_READING)
    while room.loaded_position < last and len(_places) < MOST_PLACES:
        found = sale.entries.filter(position__gt=room.loaded_position).order_by("position")
        values = found.values_list("id", "account_id", "position")[:PLACES_PER_STATEMENT]
        rows: list[tuple[UUID, int, Any]] = transactions.read(partial(list, values))
        if not rows:
            return
        for id, account_id, position in rows:
            _places[id] = CurrentEntry(id, sale.pk, account_id, Status.WAITING, position)
        room.loaded_position = rows[-1][2]
    if len(_places) > 2 * (sale.last_position - sale.passed_position) + PLACES_PER_STATEMENT:
        _drop_passed()


def _drop_passed() -> None:
    """Forget the places of entries that wait no more."""
    for entry_id, place in list(_places.items()):
        room = _rooms.get(place.sale_id)
        if room is None or not _waits(place, room):
            del _places[entry_id]
