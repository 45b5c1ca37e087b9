"""The waiting rooms as one process remembers them: a poll of an entry that waits runs no statement.

A thread reads the unended sales once or twice a second, and the places of their entries as they are given; an
entry waits as long as its place is beyond the sale's `passed_position`. Every poll while the memory is not
current is read from the database. It may say that an entry waits which was just admitted, never the reverse.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from foundation import clock
from sales.sale_states import SaleState
from sales.waiting_room import entries, estimates, rows
from sales.waiting_room.entries import CurrentEntry, Entry, Status
from sales.waiting_room.estimates import Reading

CURRENT_SECONDS = 2.0
"""The age up to which what is remembered answers polls."""
PLACES_PER_STATEMENT = 10_000
PLACES_PER_READING = 10_000
"""Other sales wait meanwhile."""
MOST_PLACES = 200_000
"""Remembered at once; further entries are read from the database. One takes some 350 bytes."""
READ_BEFORE_OPENING = timedelta(minutes=10)
"""Sales that open later are not remembered yet."""


@dataclass(slots=True)
class _Room:
    """A sale as it was last read, and its readings of the last minute, since it moves at its present rate.
    Another one replaces it, because other threads read it; only the loaded position changes.
    """

    sale: SaleState
    read_at: float
    seen: tuple[Reading, ...]
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
    room = _rooms.get(entry.sale_id)
    sale, readings = (room.sale, room.seen) if room else (None, ())
    return estimates.wait_seconds(entry, sale, readings, clock.now())


def refresh() -> list[int]:
    """Read the waiting rooms of unended sales; returns those in which entries wait, or whose draw is due."""
    now = clock.now()
    sales = [sale.state for sale in rows.read_rooms(opened_by=now + READ_BEFORE_OPENING)]
    read_at = time.monotonic()
    for sale in sales:
        _remember(sale, read_at, is_moving=sale.opens_at <= now and sale.paused_at is None)
    if gone := _rooms.keys() - {sale.id for sale in sales}:
        for sale_id in gone:
            del _rooms[sale_id]
        _drop_passed()
    return [
        sale.id
        for sale in sales
        if sale.opens_at <= now and (not sale.is_ordered or sale.last_position > sale.passed_position)
    ]


def clear() -> None:
    """Forget everything (tests)."""
    _rooms.clear()
    _places.clear()


def _remember(sale: SaleState, read_at: float, *, is_moving: bool) -> None:
    before = _rooms.get(sale.id)
    # What was measured at another rate says nothing of the time after.
    is_same = before is not None and before.sale.rate_per_minute == sale.rate_per_minute
    seen = before.seen if before and is_moving and is_same else ()
    if before and is_moving and not seen:
        # Where it stood before it moved: entries may be admitted between its opening and this reading.
        seen = (Reading(before.read_at, before.sale.passed_position),)
    if is_moving:
        seen = estimates.add_reading(seen, Reading(read_at, sale.passed_position))
    loaded = max(before.loaded_position if before else 0, sale.passed_position)
    _rooms[sale.id] = room = _Room(sale, read_at, seen, loaded)
    if sale.is_ordered:
        _load_places(room)


def _load_places(room: _Room) -> None:
    """Remember the places that were given since the last time, the first of many."""
    sale = room.sale
    last = min(room.sale.last_position, room.loaded_position + PLACES_PER_READING)
    while room.loaded_position < last and len(_places) < MOST_PLACES:
        places = rows.read_places(sale.id, after=room.loaded_position, most=PLACES_PER_STATEMENT)
        if not places:
            return
        for id, account_id, position in places:
            _places[id] = CurrentEntry(id, sale.id, account_id, Status.WAITING, position)
        room.loaded_position = places[-1][2]
    if len(_places) > 2 * (sale.last_position - sale.passed_position) + PLACES_PER_STATEMENT:
        _drop_passed()


def _drop_passed() -> None:
    """Forget the places of entries that wait no more."""
    for entry_id, place in list(_places.items()):
        room = _rooms.get(place.sale_id)
        if room is None or not _waits(place, room):
            del _places[entry_id]
