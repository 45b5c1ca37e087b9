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


class NewJournalLine(NamedTuple):
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


JOURNAL_LINES_TABLE = bulk_sql.Table(JournalLine, NewJournalLine._fields)


@dataclass(frozen=True, slots=True)
class ActorContext:
    """At whose hands something happens, and in which request."""

    actor: str = Actor.SYSTEM
    id: int | None = None
    name: str = ""
    request_id: str = ""


SYSTEM = ActorContext()
_current_actor: ContextVar[ActorContext] = ContextVar("who", default=SYSTEM)
_actors_by_order: ContextVar[Mapping[UUID | None, ActorContext]] = ContextVar(
    "who_for", default=MappingProxyType({})
)


def current_actor() -> ActorContext:
    """Who acts in this thread. A request that is decided by another thread's batch brings its own along."""
    return _current_actor.get()


class acting:  # noqa: N801 - reads as a word: `with journal.acting(...)`
    """What happens inside is at this one's hands, unless `identify` says more."""

    __slots__ = ("_somebody", "_token")

    def __init__(self, somebody: ActorContext) -> None:
        self._somebody = somebody

    def __enter__(self) -> None:
        self._token = _current_actor.set(self._somebody)

    def __exit__(self, *raised: object) -> None:
        _current_actor.reset(self._token)


@contextmanager
def acting_for(orders: Mapping[UUID | None, ActorContext]) -> Iterator[None]:
    """What happens to one of these orders inside is at its own one's hands: a batch acts for many."""
    token = _actors_by_order.set(orders)
    try:
        yield
    finally:
        _actors_by_order.reset(token)


def identify_actor(*, account_id: int | None, is_staff: bool, name: str = "") -> None:
    """Say who it is that acts, once they are known, until the `acting` around it ends."""
    actor = Actor.STAFF if is_staff else Actor.ACCOUNT
    _current_actor.set(ActorContext(actor, account_id, name, _current_actor.get().request_id))


class NoteFields(TypedDict, total=False):
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
    by: ActorContext | None


def note(**happened: Unpack[NoteFields]) -> None:
    """Note one thing that happened, as part of the caller's transaction."""
    transactions.write_before_commit(_write_lines, build_line(**happened))


def note_all(lines: Iterable[NewJournalLine]) -> None:
    """Note several things at once, each made by `line`."""
    transactions.write_all_before_commit(_write_lines, lines)


def build_line(
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
    by: ActorContext | None = None,
) -> NewJournalLine:
    """The line to be noted of a thing that happened."""
    by, at = by or _actors_by_order.get().get(order_id) or current_actor(), at or clock.now()
    return NewJournalLine(
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


def _write_lines(lines: Sequence[NewJournalLine]) -> None:
    """One statement for up to a thousand lines."""
    for start in range(0, len(lines), LINES_PER_STATEMENT):
        bulk_sql.insert(JOURNAL_LINES_TABLE, lines[start : start + LINES_PER_STATEMENT])


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
