"""The data platform's book of events: each id is stored once, however often it comes."""

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


def accept(book: Book, *, event_id: str, event_type: str, occurred_at: str, data: dict[str, Any]) -> bool:
    """Store the event, or count a repeat of it; return whether it came before. Its first data stays."""
    order = data.get("order")
    with transaction(book):
        stored = book.execute(
            "INSERT INTO events (id, type, occurred_at, order_id, data, received_at)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET repeats = repeats + 1 RETURNING repeats",
            [
                event_id,
                event_type,
                occurred_at,
                None if order is None else str(order),
                orjson.dumps(data),
                now(),
            ],
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
