"""Recording events: each is inserted in the transaction of its effect, by one statement for all of them just
before it commits. `shop.event_feed.sequencing` gives them their positions afterwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson
from django.db import transaction
from uuid_utils.compat import uuid7

from shop import clock
from shop.db import bulk_sql, open_transaction
from shop.event_feed import catalogue, wakeup
from shop.feed_models import FeedEvent

ROWS_PER_STATEMENT = 1_000
NUMBERED = frozenset({"product", "campaign", "sale"})
"""What the journal names by a number; all else has a name: the code of a coupon may be made of digits."""


class NewEvent(NamedTuple):
    """An event to be inserted; `data` is serialized."""

    event_id: UUID
    type: str
    order_id: UUID | None
    at: datetime
    data: str


class NotedLine(Protocol):
    """What an event takes of the line of the journal that it is made of; `after` is serialized."""

    @property
    def what(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def order_id(self) -> UUID | None: ...
    @property
    def at(self) -> datetime: ...
    @property
    def after(self) -> str | None: ...
    @property
    def event_id(self) -> UUID | None: ...


EVENTS_TABLE = bulk_sql.Table(FeedEvent, NewEvent._fields)


def event(*, type: str, data: Mapping[str, Any]) -> NewEvent:
    """An event for `record_all` that is no line of the journal."""
    return NewEvent(uuid7(), type, None, clock.now(), orjson.dumps(_allowed(type, data)).decode())


def record_all(events: Iterable[NewEvent]) -> None:
    """Record these events as part of the caller's transaction."""
    open_transaction.write_before_commit(insert, events)


def from_journal(lines: Iterable[NotedLine]) -> list[NewEvent]:
    """The events that these lines of the journal are, with the same ids; other lines are left out.

    The data names what the line is about (`"coupon": "AB12"`, `"order": id`), followed by those members of
    its `after` that its type allows.
    """
    return [_event_of(line, type) for line in lines if (type := catalogue.FROM_JOURNAL.get(line.what))]


def insert(events: Sequence[NewEvent]) -> None:
    """Insert these events, up to a thousand by one statement, and have them sequenced after the commit."""
    for start in range(0, len(events), ROWS_PER_STATEMENT):
        bulk_sql.insert(EVENTS_TABLE, events[start : start + ROWS_PER_STATEMENT])
    if events:
        transaction.on_commit(wakeup.wake_sequencer, robust=True)


def _event_of(line: NotedLine, type: str) -> NewEvent:
    assert line.event_id is not None
    return NewEvent(line.event_id, type, line.order_id, line.at, _data(line, type))


def _data(line: NotedLine, type: str) -> str:
    kind, _, name = line.subject.partition(" ")
    data: dict[str, Any] = {kind: int(name) if kind in NUMBERED and name.isdecimal() else name}
    if line.order_id:
        data["order"] = str(line.order_id)
    if line.after:
        data |= _allowed(type, orjson.loads(line.after))
    return orjson.dumps(data).decode()


def _allowed(type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in catalogue.MEMBERS[type] if name in data}
