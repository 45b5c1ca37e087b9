"""The partner's book of registrations: each key is decided once, and a code is registered under one key."""

import random
from typing import Any

from scripts.simulators.asgi import Refused
from scripts.simulators.books import Book, Row, new_id, now, transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS registrations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    code TEXT,
    status TEXT NOT NULL CHECK (status IN ('registered', 'refused', 'cancelled')),
    asked INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS registrations_of_code ON registrations (code) WHERE status = 'registered';
"""
STATUSES = ("registered", "refused", "cancelled")


def register(book: Book, *, key: str, code: str, failure_rate: float) -> Row:
    """Register the code, refuse it, or find what the key has led to before.

    A code that another key has is refused. Raises `Refused` for a key that came with another code.
    """
    with transaction(book):
        book.execute("UPDATE registrations SET asked = asked + 1 WHERE key = ?", [key])
        if _by_key(book, key) is None:
            is_refused = random.random() < failure_rate or _is_taken(book, code)
            _write(book, key=key, code=code, status="refused" if is_refused else "registered")
        row = _must_have(book, key)
    if row["code"] not in (code, None):
        raise Refused(422, "key_reused", "This key came before with another code.")
    return row


def cancel(book: Book, *, key: str) -> Row:
    """See to it that nothing is registered under the key, now or later; a refused one stays refused."""
    with transaction(book):
        book.execute(
            "UPDATE registrations SET status = 'cancelled' WHERE key = ? AND status = 'registered'", [key]
        )
        if _by_key(book, key) is None:
            _write(book, key=key, code=None, status="cancelled")
        return _must_have(book, key)


def totals(book: Book) -> dict[str, int]:
    """How many keys there are of each status."""
    rows = book.execute("SELECT status, count(*) FROM registrations GROUP BY status").fetchall()
    return dict.fromkeys(STATUSES, 0) | {row[0]: row[1] for row in rows}


def as_json(row: Row) -> dict[str, Any]:
    """The registration as clients see it; `asked` is how often it was asked for."""
    return {name: row[name] for name in ("id", "key", "code", "status", "asked", "created_at")}


def _is_taken(book: Book, code: str) -> bool:
    found = book.execute("SELECT 1 FROM registrations WHERE code = ? AND status = 'registered'", [code])
    return found.fetchone() is not None


def _write(book: Book, *, key: str, code: str | None, status: str) -> None:
    book.execute(
        "INSERT INTO registrations (id, key, code, status, created_at) VALUES (?, ?, ?, ?, ?)",
        [new_id("reg"), key, code, status, now()],
    )


def _by_key(book: Book, key: str) -> Row | None:
    row: Row | None = book.execute("SELECT * FROM registrations WHERE key = ?", [key]).fetchone()
    return row


def _must_have(book: Book, key: str) -> Row:
    row = _by_key(book, key)
    if row is None:
        raise LookupError(f"the book has no registration of key {key}")
    return row
