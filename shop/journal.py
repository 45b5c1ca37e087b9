"""The journal: an append-only log of what money, stock and coupons went through, and at whose hands.

A line is written in the transaction of its effect, so neither is there without the other. The parts of a
transaction each `note` theirs, and all go in by one statement just before it commits. A line that is
outgoing is an event as well: `shop.outbox` delivers it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from django.utils import timezone

from shop import transactions
from shop.models import JournalLine

Actor = JournalLine.Actor

COLUMNS = (
    "at",
    "actor",
    "actor_id",
    "actor_name",
    "request_id",
    "what",
    "subject",
    "order_id",
    "`before`",
    "after",
    "detail",
    "reference",
    "is_internal",
    "delivery",
    "next_attempt_at",
)
ROW = f"({', '.join(['%s'] * len(COLUMNS))}, 0, '')"
INSERT = f"INSERT INTO shop_journalline ({', '.join(COLUMNS)}, attempts, last_error) VALUES "  # noqa: S608 - names written here
LINES_PER_STATEMENT = 1_000


@dataclass(frozen=True, slots=True)
class Who:
    """At whose hands something happens, and in which request."""

    actor: str = Actor.SYSTEM
    id: int | None = None
    name: str = ""
    request_id: str = ""


SYSTEM = Who()
_who: ContextVar[Who] = ContextVar("who", default=SYSTEM)


def who() -> Who:
    """Who acts in this thread. A request that is decided by another thread's batch brings its own along."""
    return _who.get()


@contextmanager
def acting(somebody: Who) -> Iterator[None]:
    """What happens inside is at this one's hands, unless `identify` says more."""
    token = _who.set(somebody)
    try:
        yield
    finally:
        _who.reset(token)


def identify(*, account_id: int | None, is_staff: bool, name: str = "") -> None:
    """Say who it is that acts, once they are known, until the `acting` around it ends."""
    actor = Actor.STAFF if is_staff else Actor.ACCOUNT
    _who.set(replace(_who.get(), actor=actor, id=account_id, name=name))


def note(
    *,
    what: str,
    subject: str,
    order_id: UUID | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    detail: str = "",
    reference: str = "",
    is_internal: bool = False,
    is_outgoing: bool = False,
    at: datetime | None = None,
    due_at: datetime | None = None,
    by: Who | None = None,
) -> None:
    """Note one thing that happened, as part of the caller's transaction.

    `before` and `after` are plain JSON; `after` is also what an outgoing event tells. `by` is who acts when
    that isn't `who()`. `is_internal` keeps a line from customers. The relay takes up an event at `due_at`, if
    whoever notes it means to deliver it before.
    """
    transactions.assert_inside()
    by, at = by or who(), at or timezone.now()
    line = JournalLine(
        at=at,
        actor=by.actor,
        actor_id=by.id,
        actor_name=by.name,
        request_id=by.request_id,
        what=what,
        subject=subject,
        order_id=order_id,
        before=before,
        after=after,
        detail=detail[:255],
        reference=reference,
        is_internal=is_internal,
        delivery=JournalLine.Delivery.QUEUED if is_outgoing else "",
        next_attempt_at=(due_at or at) if is_outgoing else None,
    )
    transactions.gather(_write, line)


def _write(lines: Sequence[JournalLine]) -> None:
    """One statement for up to a thousand lines. The ORM's own costs more than all the rest of a batch."""
    for start in range(0, len(lines), LINES_PER_STATEMENT):
        some = lines[start : start + LINES_PER_STATEMENT]
        with connection.cursor() as cursor:
            values = list(chain.from_iterable(map(_values, some)))
            cursor.execute(INSERT + ", ".join([ROW] * len(some)), values)


def _values(line: JournalLine) -> tuple[Any, ...]:
    """The line's values as the database takes them, in the order of `COLUMNS`."""
    adapted = connection.ops.adapt_datetimefield_value
    return (
        adapted(line.at),
        line.actor,
        line.actor_id,
        line.actor_name,
        line.request_id,
        line.what,
        line.subject,
        _order(line.order_id),
        _json(line.before),
        _json(line.after),
        line.detail,
        line.reference,
        line.is_internal,
        line.delivery,
        adapted(line.next_attempt_at),
    )


def _order(order_id: UUID | None) -> UUID | str | None:
    return order_id.hex if order_id and not connection.features.has_native_uuid_field else order_id


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
