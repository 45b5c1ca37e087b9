"""The data platform's book of events: each id is stored once, however often it comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from scripts.simulators.books import Book, Row, now, transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    order_id TEXT,
    data BLOB NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0,
    received_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_order ON events (order_id);
CREATE INDEX IF NOT EXISTS events_of_type ON events (type);
"""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened, as it was sent."""

    id: str
    type: str
    occurred_at: str
    data: dict[str, Any]

    @property
    def order(self) -> str | None:
        """The order that it tells of."""
        order = self.data.get("order")
        return None if order is None else str(order)


def accept(book: Book, events: Sequence[Event]) -> int:
    """Store them all in this order, or count repeats; return how many came before. Their first data stays."""
    with transaction(book):
        return sum(_store(book, event) for event in events)


def _store(book: Book, event: Event) -> bool:
    stored = book.execute(
        "INSERT INTO events (id, type, occurred_at, order_id, data, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET repeats = repeats + 1 RETURNING repeats",
        [event.id, event.type, event.occurred_at, event.order, orjson.dumps(event.data), now()],
    ).fetchall()
    return bool(stored[0]["repeats"])


def total(book: Book) -> tuple[int, int]:
    """How many events there are, and how many times one of them came again."""
    row = book.execute("SELECT count(*), coalesce(sum(repeats), 0) FROM events").fetchone()
    return row[0], row[1]


def as_json(row: Row) -> dict[str, Any]:
    """The event as it was sent, and when it came."""
    return {
        "id": row["id"],
        "type": row["type"],
        "occurred_at": row["occurred_at"],
        "data": orjson.loads(row["data"]),
        "received_at": row["received_at"],
    }
