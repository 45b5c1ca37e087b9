"""The gateway's book: a key is charged at most once, never once cancelled; refunds never exceed a charge.

A dispute is begun by the card's owner at their bank, which decides it; it holds its amount of the charge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import StringConstraints

from scripts.simulators import process, webhooks
from scripts.simulators.books import Book, Row, find, rows
from scripts.simulators.process import Amount, Currency, Json, Refused, Text

SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    kind TEXT NOT NULL CHECK (kind IN ('charge', 'refund')), key TEXT NOT NULL,
    asked BLOB NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charges (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE,
    order_id TEXT, token TEXT, failure TEXT, currency TEXT, created_at TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'declined', 'cancelled')),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    refunded_amount INTEGER NOT NULL DEFAULT 0 CHECK (refunded_amount BETWEEN 0 AND amount)
);
CREATE INDEX IF NOT EXISTS charges_of_order ON charges (order_id);
CREATE TABLE IF NOT EXISTS confirmations (
    charge_id TEXT PRIMARY KEY REFERENCES charges (id), url TEXT NOT NULL, return_url TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refunds (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL REFERENCES charges (id), amount INTEGER NOT NULL CHECK (amount > 0),
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS refunds_of_charge ON refunds (charge_id);
CREATE TABLE IF NOT EXISTS refund_failures (
    refund_id TEXT PRIMARY KEY REFERENCES refunds (id), created_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS disputes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL REFERENCES charges (id), amount INTEGER NOT NULL CHECK (amount > 0),
    status TEXT NOT NULL CHECK (status IN ('open', 'won', 'lost')),
    due_at TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS disputes_of_charge ON disputes (charge_id);
"""
HELD = "SELECT coalesce(sum(amount), 0) FROM disputes WHERE charge_id = ? AND status <> 'won'"
FAILURES = {
    "card_declined": "The card was declined.",
    "insufficient_funds": "The card has insufficient funds.",
    "authentication_failed": "The card's owner refused the payment.",
    "authentication_expired": "The card's owner did not confirm the payment in time.",
}
Address = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2000)]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What happens to a charge of this card; by default it is charged and answered at once.

    failure: the code of its final refusal.
    failed_attempts, failed_refunds: so many first attempts with a key end in an HTTP 500 and do nothing.
    seconds: how long charging takes.
    is_charged, is_answered: False where the charge never happens, and where its reply never comes.
    is_awaited: False where the reply doesn't wait for those seconds; a webhook announces the end.
    is_confirmed: True where the card's owner must confirm the charge on the gateway's page.
    """

    failure: str | None = None
    failed_attempts: float = 0
    failed_refunds: int = 0
    seconds: float = 0
    is_charged: bool = True
    is_answered: bool = True
    is_awaited: bool = True
    is_confirmed: bool = False


CARDS = {
    "tok_ok": Card(),
    "tok_declined": Card(failure="card_declined"),
    "tok_insufficient_funds": Card(failure="insufficient_funds"),
    "tok_error": Card(failed_attempts=float("inf")),
    "tok_flaky": Card(failed_attempts=2),
    "tok_slow": Card(seconds=2),
    "tok_timeout_charged": Card(is_answered=False),
    "tok_timeout_lost": Card(is_charged=False, is_answered=False),
    "tok_refund_fails": Card(failed_refunds=2),
    "tok_webhook": Card(seconds=2, is_awaited=False),
    "tok_3ds": Card(is_awaited=False, is_confirmed=True),
}


def card(token: str) -> Card:
    """The card of the token. Raises Refused for an unknown token."""
    if token not in CARDS:
        raise Refused(
            400, "unknown_token", f"No card has this token. There is {', '.join(CARDS)}.", field="token"
        )
    return CARDS[token]


class ChargeBody(process.Body):
    """The charge that a client requests; `return_url` is where its confirmation page leads back to."""

    token: Text
    amount: Amount
    currency: Currency
    order: Text | None = None
    return_url: Address | None = None


class RefundBody(process.Body):
    charge: Text
    amount: Amount


class DisputeBody(process.Body):
    """The dispute of the card's owner; without an amount it is of all that is left of the charge."""

    charge: Text
    amount: Amount | None = None


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
    return int(counted[0]["count"])


def end(book: Book, charge_id: str, *, failure: str | None = None) -> Row | None:
    """End a charge as succeeded, or declined with this failure, unless it has ended; return it as it is now.

    Where the answer did not wait for the end, a webhook is written.
    """
    status = "succeeded"
    if failure:
        status = "declined"
    statement = "UPDATE charges SET status = ?, failure = ? WHERE id = ? AND status = 'pending' RETURNING *"
    with book:
        for ended in book.execute(statement, [status, failure, charge_id]).fetchall():
            if not card(ended["token"]).is_awaited:
                webhooks.write(book, ended)
        return find(book, "charges", id=charge_id)


def confirmation(book: Book, charge_id: str) -> Any:
    """Where the owner confirms the charge, and is led back to; None for one that needs no confirmation."""
    return book.execute("SELECT * FROM confirmations WHERE charge_id = ?", [charge_id]).fetchone()


def existing(book: Book, charge_id: str) -> Row:
    charge = find(book, "charges", id=charge_id)
    if charge is None:
        raise Refused(404, "charge_not_found", "There is no charge of this id.")
    return charge


def require_left(book: Book, charge: Row, amount: int | None, *, code: str) -> int:
    """The amount, by default all that is left of the charge: neither refunded nor held by an open or lost
    dispute. Raises Refused where that is less."""
    [(held,)] = book.execute(HELD, [charge["id"]]).fetchall()
    left = 0
    if charge["status"] == "succeeded":
        left = charge["amount"] - charge["refunded_amount"] - held
    asked = amount or left
    if not 0 < asked <= left:
        more = {"left_amount": left, "charge": charge_as_json(book, charge)}
        raise Refused(409, code, f"{left} is left of this charge.", **more)
    return int(asked)


def charge_as_json(book: Book, row: Row) -> Json:
    """The charge as clients see it: with `next_action` while it waits for its owner, and its `disputes`."""
    names = ("id", "key", "status", "amount", "refunded_amount", "currency", "created_at")
    fields = {name: row[name] for name in names} | {"order": row["order_id"]}
    if row["failure"]:
        fields["failure"] = {"code": row["failure"], "detail": FAILURES[row["failure"]]}
    if row["status"] == "pending" and (found := confirmation(book, row["id"])):
        fields["next_action"] = {"type": "redirect", "url": found["url"]}
    disputed = rows(book, "disputes", {"charge_id = ?": row["id"]})
    if disputed:
        fields["disputes"] = [dispute_as_json(book, dispute) for dispute in disputed]
    return fields


def refund_as_json(book: Book, row: Row) -> Json:
    fields = {name: row[name] for name in ("id", "key", "amount", "created_at")}
    failed = book.execute("SELECT 1 FROM refund_failures WHERE refund_id = ?", [row["id"]]).fetchone()
    return {**fields, "charge": row["charge_id"], "status": "failed" if failed else "succeeded"}


def dispute_as_json(book: Book, row: Row) -> Json:
    fields = {name: row[name] for name in ("id", "key", "status", "amount", "due_at", "created_at")}
    return {**fields, "charge": row["charge_id"], "currency": existing(book, row["charge_id"])["currency"]}
