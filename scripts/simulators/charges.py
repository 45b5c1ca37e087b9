"""The gateway's book of charges: each key is charged at most once, and never once it is cancelled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from scripts.simulators import http, webhooks
from scripts.simulators.books import Book, Row, by_key, insert, must_have, new_id, now, transaction
from scripts.simulators.cards import FAILURES, Card, card
from scripts.simulators.http import Amount, Currency, Refused, Text

SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    kind TEXT NOT NULL CHECK (kind IN ('charge', 'refund')),
    key TEXT NOT NULL,
    asked BLOB NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charges (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    order_id TEXT,
    token TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'declined', 'cancelled')),
    failure TEXT,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    refunded_amount INTEGER NOT NULL DEFAULT 0 CHECK (refunded_amount BETWEEN 0 AND amount),
    currency TEXT,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS charges_of_order ON charges (order_id);
"""
FIELDS = ("id", "key", "status", "amount", "refunded_amount", "currency", "created_at")


class Asked(http.Body):
    """What a client asks to have charged."""

    token: Text
    amount: Amount
    currency: Currency
    order: Text | None = None


@dataclass(frozen=True)
class Charged:
    """A charge as it stands after an attempt; `is_new` when this attempt made it."""

    row: Row
    is_new: bool


def charge(book: Book, *, key: str, asked: Asked) -> Charged | None:
    """Charge, or find what the key has led to before. None when this attempt fails and leaves no charge.

    A new charge of a slow card is pending: `settle` ends it. Raises Refused for a key with another body.
    """
    with transaction(book):
        attempt = count_attempt(book, kind="charge", key=key, asked=asked.model_dump())
        found = by_key(book, "charges", key)
        if found is not None:
            return Charged(found, is_new=False)
        used = card(asked.token)
        if attempt <= used.failed_attempts or not used.is_charged:
            return None
        _write(book, key=key, asked=asked, used=used)
        return Charged(must_have(book, "charges", key), is_new=True)


def count_attempt(book: Book, *, kind: str, key: str, asked: Mapping[str, Any]) -> int:
    """Count one more attempt with the key and return how many there were. Raises Refused for another body."""
    counted = book.execute(
        "INSERT INTO attempts (kind, key, asked, count) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (kind, key) DO UPDATE SET count = count + 1 WHERE asked = excluded.asked"
        " RETURNING count",
        [kind, key, orjson.dumps(asked)],
    ).fetchall()
    if not counted:
        raise Refused(422, "key_reused", "This Idempotency-Key came before with another body.")
    count: int = counted[0]["count"]
    return count


def settle(book: Book, *, key: str) -> Row:
    """End a pending charge as succeeded, unless it was cancelled meanwhile; return it as it stands.

    Where the answer did not wait for this, a webhook is written that tells of it.
    """
    with transaction(book):
        settled = book.execute(
            "UPDATE charges SET status = 'succeeded' WHERE key = ? AND status = 'pending' RETURNING key",
            [key],
        ).fetchall()
        row = must_have(book, "charges", key)
        if settled and not card(row["token"]).is_awaited:
            webhooks.write(book, row)
        return row


def cancel(book: Book, *, key: str) -> Row:
    """See to it that no charge of this key can land from now on; return the charge, cancelled or declined.

    Where there is no charge yet, a cancelled one of amount 0 takes its place. Raises Refused when too late.
    """
    with transaction(book):
        book.execute("UPDATE charges SET status = 'cancelled' WHERE key = ? AND status = 'pending'", [key])
        book.execute(
            "INSERT INTO charges (id, key, status, amount, created_at) VALUES (?, ?, 'cancelled', 0, ?)"
            " ON CONFLICT (key) DO NOTHING",
            [new_id("ch"), key, now()],
        )
        found = must_have(book, "charges", key)
    if found["status"] == "succeeded":
        raise Refused(409, "already_charged", "This key has been charged: refund it.", charge=as_json(found))
    return found


def pending(book: Book) -> list[Row]:
    """The charges that a process which died has left unsettled."""
    return book.execute("SELECT * FROM charges WHERE status = 'pending'").fetchall()


def total(book: Book) -> tuple[int, int]:
    """How many charges succeeded, and their amounts together."""
    row = book.execute(
        "SELECT count(*), coalesce(sum(amount), 0) FROM charges WHERE status = 'succeeded'"
    ).fetchone()
    return row[0], row[1]


def as_json(row: Row) -> dict[str, Any]:
    """The charge as clients see it."""
    fields = {name: row[name] for name in FIELDS} | {"order": row["order_id"]}
    if row["failure"]:
        fields["failure"] = {"code": row["failure"], "detail": FAILURES[row["failure"]]}
    return fields


def _write(book: Book, *, key: str, asked: Asked, used: Card) -> None:
    status = "declined" if used.failure else "pending" if used.seconds else "succeeded"
    what: dict[str, Any] = {
        "token": asked.token,
        "amount": asked.amount,
        "currency": asked.currency,
        "order_id": asked.order,
    }
    made = {"id": new_id("ch"), "key": key, "status": status, "failure": used.failure, "created_at": now()}
    insert(book, "charges", **made, **what)
