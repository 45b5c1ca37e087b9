"""The journal: an append-only log of what money, stock and coupons went through, and at whose hands.

A line is written in the transaction of its effect, so neither is there without the other. The parts of a
transaction each `note` theirs, and all go in by one statement just before it commits. A line that is
outgoing is an event as well: `shop.events.outbox` delivers it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Required, TypedDict, Unpack
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from shop import clock
from shop.db import bulk_sql, transactions
from shop.models import JournalLine

Actor = JournalLine.Actor

LINES_PER_STATEMENT = 1_000
LONGEST_DETAIL = 255
QUEUED = JournalLine.Delivery.QUEUED.value


class Line(NamedTuple):
    """A line to be noted, as `line` makes it; JSON is text by now."""

    at: datetime
    actor: str
    actor_id: int | None
    actor_name: str
    request_id: str
    what: str
    subject: str
    order_id: UUID | None
    before: str | None
    after: str | None
    detail: str
    reference: str
    is_internal: bool
    delivery: str
    next_attempt_at: datetime | None
    event_id: UUID | None
    attempts: int = 0
    last_error: str = ""


LINES = bulk_sql.Table(JournalLine, Line._fields)


@dataclass(frozen=True, slots=True)
class Who:
    """At whose hands something happens, and in which request."""

    actor: str = Actor.SYSTEM
    id: int | None = None
    name: str = ""
    request_id: str = ""


SYSTEM = Who()
_who: ContextVar[Who] = ContextVar("who", default=SYSTEM)
_who_for: ContextVar[Mapping[UUID | None, Who]] = ContextVar("who_for", default=MappingProxyType({}))


def who() -> Who:
    """Who acts in this thread. A request that is decided by another thread's batch brings its own along."""
    return _who.get()


class acting:  # noqa: N801 - reads as a word: `with journal.acting(...)`
    """What happens inside is at this one's hands, unless `identify` says more."""

    __slots__ = ("_somebody", "_token")

    def __init__(self, somebody: Who) -> None:
        self._somebody = somebody

    def __enter__(self) -> None:
        self._token = _who.set(self._somebody)

    def __exit__(self, *raised: object) -> None:
        _who.reset(self._token)


@contextmanager
def acting_for(orders: Mapping[UUID | None, Who]) -> Iterator[None]:
    """What happens to one of these orders inside is at its own one's hands: a batch acts for many."""
    token = _who_for.set(orders)
    try:
        yield
    finally:
        _who_for.reset(token)


def identify(*, account_id: int | None, is_staff: bool, name: str = "") -> None:
    """Say who it is that acts, once they are known, until the `acting` around it ends."""
    actor = Actor.STAFF if is_staff else Actor.ACCOUNT
    _who.set(Who(actor, account_id, name, _who.get().request_id))


class Happened(TypedDict, total=False):
    """One thing that happened. `before` and `after` are plain JSON, and `after` is what an event tells.

    `by` is who acts when that isn't `who()`. `is_internal` keeps a line from customers. The relay takes up an
    event at `due_at`, if whoever notes it means to deliver it before.
    """

    what: Required[str]
    subject: Required[str]
    order_id: UUID | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    detail: str
    reference: str
    is_internal: bool
    is_outgoing: bool
    at: datetime | None
    due_at: datetime | None
    by: Who | None


def note(**happened: Unpack[Happened]) -> None:
    """Note one thing that happened, as part of the caller's transaction."""
    transactions.gather(_write, line(**happened))


def note_all(lines: Iterable[Line]) -> None:
    """Note several things at once, each made by `line`."""
    transactions.gather_all(_write, lines)


def line(
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
) -> Line:
    """The line to be noted of a thing that happened."""
    by, at = by or _who_for.get().get(order_id) or who(), at or clock.now()
    return Line(
        at,
        by.actor,
        by.id,
        by.name,
        by.request_id,
        what,
        subject,
        order_id,
        _json(before),
        _json(after),
        detail[:LONGEST_DETAIL],
        reference,
        is_internal,
        QUEUED if is_outgoing else "",
        (due_at or at) if is_outgoing else None,
        uuid7() if is_outgoing else None,
    )


def _write(lines: Sequence[Line]) -> None:
    """One statement for up to a thousand lines."""
    for start in range(0, len(lines), LINES_PER_STATEMENT):
        bulk_sql.insert(LINES, lines[start : start + LINES_PER_STATEMENT])


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
