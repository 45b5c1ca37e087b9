"""The journal: an append-only log of changes of money, stock and coupons, with the actor of each.

A line is written in the transaction of its effect: all of a transaction are inserted by one statement just
before it commits. Some lines are also events: `EVENTS` names them, and `RECORDERS` record them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, ParamSpec
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from foundation import clock
from foundation.db import bulk_sql, open_transaction
from foundation.models import JournalLine
from foundation.observability import logs, tracing
from foundation.values import GivenValues

P = ParamSpec("P")
Actor = JournalLine.Actor

LONGEST_DETAIL = 255
KEY_NAME = "API key "
"""How an actor's name begins, before the key's number, where an API key acted: no username has a space."""


class NewJournalLine(NamedTuple):
    """A line to be inserted, made by `build_line`; JSON values are already serialized."""

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
    event_id: UUID | None


JOURNAL_LINES_TABLE = bulk_sql.Table(JournalLine, NewJournalLine._fields)
_write_lines = partial(bulk_sql.insert, JOURNAL_LINES_TABLE)
EVENTS: set[str] = set()
"""What a line says that is an event too, whose id it has. Apps add theirs in `ready`, and to `RECORDERS`."""
RECORDERS: list[Callable[[Sequence[NewJournalLine]], None]] = []
"""Called with the lines that are noted, in the transaction in which they are."""


Facts = GivenValues | None
"""What a line says of its subject before or after a change."""


class ActorContext(NamedTuple):
    """The actor of a change, and the request in which it happens, with its trace if that is recorded."""

    actor: str = Actor.SYSTEM
    id: int | None = None
    name: str = ""
    request_id: str = ""
    traceparent: str = ""


SYSTEM = ActorContext()
_current_actor: ContextVar[ActorContext] = ContextVar("current_actor", default=SYSTEM)
_actors_by_order: ContextVar[Mapping[UUID | None, ActorContext]] = ContextVar(
    "actors_by_order", default=MappingProxyType({})
)


def current_actor() -> ActorContext:
    """The actor of this thread or coroutine. Requests that another thread's batch decides carry their own."""
    return _current_actor.get()


class acting:  # noqa: N801 - reads as a word: `with journal.acting(...)`
    """Attributes what happens inside to this actor, until `identify_actor` names another. Every call enters
    it: a class is cheaper than a generator.
    """

    __slots__ = ("_actor", "_token")

    def __init__(self, actor: ActorContext) -> None:
        self._actor = actor

    def __enter__(self) -> None:
        self._token = _current_actor.set(self._actor)

    def __exit__(self, *raised: object) -> None:
        _current_actor.reset(self._token)


@contextmanager
def acting_for(orders: Mapping[UUID | None, ActorContext]) -> Iterator[None]:
    """Attribute changes of each of these orders to its own actor, in a batch that acts for many."""
    token = _actors_by_order.set(orders)
    try:
        yield
    finally:
        _actors_by_order.reset(token)


def key_of(actor: ActorContext) -> int | None:
    """The number of the API key that acts; None if none does."""
    return int(actor.name.removeprefix(KEY_NAME)) if actor.name.startswith(KEY_NAME) else None


def unidentified(request_id: str) -> ActorContext:
    """The actor of a request until it is authenticated."""
    return ActorContext(request_id=request_id, traceparent=tracing.traceparent())


def identify_actor(*, account_id: int | None, is_staff: bool, name: str = "") -> None:
    """Set the actor once it is authenticated, until the surrounding `acting` block ends."""
    actor = Actor.STAFF if is_staff else Actor.ACCOUNT
    before = _current_actor.get()
    _current_actor.set(ActorContext(actor, account_id, name, before.request_id, before.traceparent))
    logs.note_caller("account", account_id)


def build_line(
    *,
    what: str,
    subject: str,
    order_id: UUID | None = None,
    before: Facts = None,
    after: Facts = None,
    detail: str = "",
    reference: str = "",
    is_internal: bool = False,
    at: datetime | None = None,
    by: ActorContext | None = None,
) -> NewJournalLine:
    """The line for `note_all`; `before` and `after` are plain JSON, `after` the data of an event.

    `by` is the actor, if not the order's or the current one. `is_internal` hides a line from customers.
    """
    by = by or _actors_by_order.get().get(order_id) or current_actor()
    at = at or clock.now()
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
        uuid7() if what in EVENTS else None,
    )


def note_all(lines: Iterable[NewJournalLine]) -> None:
    """Write these lines as part of the caller's transaction, and have the events that they are recorded."""
    noted = list(lines)
    open_transaction.write_before_commit(_write_lines, noted)
    for record in RECORDERS:
        record(noted)


def _noting(build: Callable[P, NewJournalLine]) -> Callable[P, None]:
    return lambda *given, **named: note_all([build(*given, **named)])


note = _noting(build_line)
"""`note_all` for one line, which is given as to `build_line`."""


def _json(value: Facts) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
