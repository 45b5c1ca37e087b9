"""Recording events: each is inserted in the transaction of its effect, by one statement for all of them just
before it commits. `events.feed.sequencing` gives them their positions afterwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from events.feed import catalogue
from events.models import FeedEvent
from foundation import clock
from foundation.db import bulk_sql, open_transaction
from foundation.journal.journal import Facts, NewJournalLine

NUMBERED = frozenset({"product", "campaign", "sale"})
"""What the journal names by a number; all else has a name: the code of a coupon may be made of digits."""


class NewEvent(NamedTuple):
    """An event to be inserted; `data` is serialized."""

    event_id: UUID
    type: str
    order_id: UUID | None
    at: datetime
    data: str


EVENTS_TABLE = bulk_sql.Table(FeedEvent, (*NewEvent._fields, "run_offset", "run_length"))


def event(*, type: str, data: Mapping[str, Any]) -> NewEvent:
    """An event for `record_all` that is no line of the journal."""
    return NewEvent(uuid7(), type, None, clock.now(), orjson.dumps(_allowed(type, data)).decode())


def record_all(events: Iterable[NewEvent]) -> None:
    """Record these events as part of the caller's transaction."""
    open_transaction.write_before_commit(insert, events)


def record_lines(lines: Iterable[NewJournalLine]) -> None:
    """Record the events that these lines of the journal are, as part of the caller's transaction."""
    record_all(from_journal(lines))


def from_journal(lines: Iterable[NewJournalLine]) -> list[NewEvent]:
    """The events that these lines are, with the same ids. The data names what a line is about (`"coupon":
    "AB12"`), followed by those members of its `after` that the type allows.
    """
    events = []
    for line in lines:
        if type := catalogue.FROM_JOURNAL.get(line.what):
            assert line.event_id is not None
            after = orjson.loads(line.after) if line.after else None
            data = orjson.dumps(data_of(type, subject=line.subject, order_id=line.order_id, after=after))
            events.append(NewEvent(line.event_id, type, line.order_id, line.at, data.decode()))
    return events


def insert(events: Sequence[NewEvent]) -> None:
    """Insert these events, which are sequenced after the commit: those of a statement are a run, because the
    database gives them consecutive ids.
    """
    for start in range(0, len(events), bulk_sql.ROWS_PER_STATEMENT):
        run = events[start : start + bulk_sql.ROWS_PER_STATEMENT]
        bulk_sql.insert(EVENTS_TABLE, [(*event, offset, len(run)) for offset, event in enumerate(run)])


def data_of(type: str, *, subject: str, order_id: UUID | None, after: Facts) -> dict[str, Any]:
    """The data of the event of this type that a line of the journal is."""
    kind, _, name = subject.partition(" ")
    data: dict[str, Any] = {kind: int(name) if kind in NUMBERED and name.isdecimal() else name}
    if order_id:
        data["order"] = str(order_id)
    return data | _allowed(type, after or {})


def _allowed(type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in catalogue.MEMBERS[type] if name in data}
