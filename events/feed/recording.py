"""Recording events: each is inserted in the transaction of its effect, by one statement for all of them just
before it commits. `events.feed.sequencing` gives them their positions afterwards.
"""

from collections.abc import Iterable

import orjson
from uuid_utils.compat import uuid7

from events.feed import catalogue, rows
from events.feed.rows import NewEvent
from foundation import clock
from foundation.db import open_transaction
from foundation.journal import NewJournalLine
from foundation.values import GivenValues


def event(*, type: str, data: GivenValues) -> NewEvent:
    """An event for `record_all` that is no line of the journal."""
    return NewEvent(uuid7(), type, None, clock.now(), orjson.dumps(catalogue.allowed(type, data)).decode())


def record_all(events: Iterable[NewEvent]) -> None:
    """Record these events as part of the caller's transaction."""
    open_transaction.write_before_commit(rows.insert_events, events)


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
            data = orjson.dumps(
                catalogue.data_of(type, subject=line.subject, order_id=line.order_id, after=after)
            )
            events.append(NewEvent(line.event_id, type, line.order_id, line.at, data.decode()))
    return events
