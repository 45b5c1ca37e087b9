"""The gateway's book: a key is charged at most once, never once cancelled; refunds never exceed a charge."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import StringConstraints

from scripts.simulators import confirmations, disputes, process, webhooks
from scripts.simulators.books import Book, Row, by_key, insert, new_id, now, transaction
from scripts.simulators.cards import FAILURES, card
from scripts.simulators.process import Amount, Currency, Refused, Text

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
CREATE TABLE IF NOT EXISTS refunds (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL REFERENCES charges (id),
    amount INTEGER NOT NULL CHECK (amount > 0),
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS refunds_of_charge ON refunds (charge_id);
"""
TOTALS = """
SELECT * FROM
    (SELECT coalesce(sum(amount), 0) AS charged_amount, count(*) AS charges
     FROM charges WHERE status = 'succeeded'),
    (SELECT coalesce(sum(amount), 0) AS refunded_amount, count(*) AS refunds FROM refunds)
"""
FIELDS = ("id", "key", "status", "amount", "refunded_amount", "currency", "created_at")


Address = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2000)]


class ChargeBody(process.Body):
    """The charge that a client requests; `return_url` is where its confirmation page leads back to."""

    token: Text
    amount: Amount
    currency: Currency
    order: Text | None = None
    return_url: Address | None = None


class RefundBody(process.Body):
    """The refund that a client requests."""

    charge: Text
    amount: Amount


def charge(book: Book, *, key: str, asked: ChargeBody, pages_at: str) -> tuple[Row | None, bool]:
    """Charge, or find what the key has led to before: the charge, and whether this attempt made it.

    The charge is None when this attempt fails and leaves none. A new charge of a slow card is pending:
    `settle` ends it, or its owner, where the card needs a confirmation, on a page at the address `pages_at`.
    Raises Refused for a key with another body.
    """
    # Where the page leads back to is no part of what is charged.
    fields = asked.model_dump(exclude={"return_url"})
    with transaction(book):
        attempt = _count_attempt(book, kind="charge", key=key, asked=fields)
        found = by_key(book, "charges", key)
        if found is not None:
            return found, False
        used = card(asked.token)
        if attempt <= used.failed_attempts or not used.is_charged:
            return None, False
        is_open = used.seconds or used.is_confirmed
        status = "declined" if used.failure else "pending" if is_open else "succeeded"
        fields |= {"order_id": fields.pop("order"), "failure": used.failure}
        made = insert(book, "charges", id=new_id("ch"), key=key, status=status, created_at=now(), **fields)
        if used.is_confirmed:
            confirmations.request(book, charge_id=made["id"], pages_at=pages_at, return_url=asked.return_url)
        return made, True


def settle(book: Book, charge: Row) -> Row:
    """End a pending charge as succeeded, unless it was cancelled meanwhile; return it as it is now.

    Where the answer did not wait for this, a webhook about it is written.
    """
    statement = "UPDATE charges SET status = 'succeeded' WHERE key = ? AND status = 'pending' RETURNING *"
    with transaction(book):
        for settled in book.execute(statement, [charge["key"]]).fetchall():
            if not card(settled["token"]).is_awaited:
                webhooks.write(book, settled)
        return by_key(book, "charges", charge["key"]) or charge


def confirm(book: Book, charge_id: str, *, failure: str | None) -> Row | None:
    """End a charge that waits for its owner: succeeded, or declined with this failure; return it as it is.

    One that has ended stays as it is. A webhook about the end is written. None where there is no such charge.
    """
    status = "declined" if failure else "succeeded"
    statement = (
        "UPDATE charges SET status = ?, failure = ? WHERE id = ? AND status = 'pending'"
        " AND id IN (SELECT charge_id FROM confirmations) RETURNING *"
    )
    with transaction(book):
        for ended in book.execute(statement, [status, failure, charge_id]).fetchall():
            webhooks.write(book, ended)
        return by_id(book, charge_id)


def by_id(book: Book, charge_id: str) -> Row | None:
    """The charge of this id, if there is one."""
    found: Row | None = book.execute("SELECT * FROM charges WHERE id = ?", [charge_id]).fetchone()
    return found


def cancel(book: Book, *, key: str) -> Row:
    """Make sure that no charge of this key is made from now on; return the charge, cancelled or declined.

    Where there is no charge yet, a cancelled one of amount 0 takes its place. Raises Refused when too late.
    """
    with transaction(book):
        book.execute("UPDATE charges SET status = 'cancelled' WHERE key = ? AND status = 'pending'", [key])
        blank = {"id": new_id("ch"), "key": key, "status": "cancelled", "created_at": now()}
        found = by_key(book, "charges", key) or insert(book, "charges", amount=0, **blank)
    if found["status"] == "succeeded":
        charged = charge_as_json(book, found)
        raise Refused(409, "already_charged", "This key has been charged: refund it.", charge=charged)
    return found


def pending(book: Book) -> list[Row]:
    """The charges that an earlier process left unsettled."""
    return book.execute("SELECT * FROM charges WHERE status = 'pending'").fetchall()


def refund(book: Book, *, key: str, asked: RefundBody) -> Row | None:
    """Refund, or find what the key has refunded before. None when this attempt fails and refunds nothing.

    Raises Refused: no such charge, more than is left of it, or the key came with another body.
    """
    with transaction(book):
        attempt = _count_attempt(book, kind="refund", key=key, asked=asked.model_dump())
        found = by_key(book, "refunds", key)
        if found is not None:
            return found
        charged = _refundable(book, asked)
        if attempt <= card(charged["token"]).failed_refunds:
            return None
        statement = "UPDATE charges SET refunded_amount = refunded_amount + ? WHERE id = ?"
        book.execute(statement, [asked.amount, asked.charge])
        made = {"id": new_id("re"), "key": key, "created_at": now()}
        webhooks.write(book, charged, type="charge.refunded", amount=asked.amount)
        return insert(book, "refunds", charge_id=asked.charge, amount=asked.amount, **made)


def totals(book: Book) -> dict[str, int]:
    """How many charges succeeded, how many refunds there are, and their amounts."""
    return dict(book.execute(TOTALS).fetchone())


def charge_as_json(book: Book, row: Row) -> dict[str, Any]:
    """The charge as clients see it; one that waits for its owner has a `next_action`.

    One that was disputed has its `disputes`.
    """
    fields = {name: row[name] for name in FIELDS} | {"order": row["order_id"]}
    if row["failure"]:
        fields["failure"] = {"code": row["failure"], "detail": FAILURES[row["failure"]]}
    if row["status"] == "pending" and (url := confirmations.page_url(book, row["id"])):
        fields["next_action"] = {"type": "redirect", "url": url}
    if disputed := disputes.of_charge(book, row["id"]):
        fields["disputes"] = [disputes.as_json(book, dispute) for dispute in disputed]
    return fields


def refund_as_json(row: Row) -> dict[str, Any]:
    """The refund as clients see it."""
    fields = {name: row[name] for name in ("id", "key", "amount", "created_at")}
    return {**fields, "charge": row["charge_id"], "status": "succeeded"}


def _count_attempt(book: Book, *, kind: str, key: str, asked: Mapping[str, Any]) -> int:
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


def _refundable(book: Book, asked: RefundBody) -> Row:
    """The charge, with so much of it left. Raises Refused."""
    charge = by_id(book, asked.charge)
    if charge is None:
        raise Refused(404, "charge_not_found", "There is no charge of this id.")
    left = disputes.left_amount(book, charge)
    if asked.amount > left:
        detail = f"{left} is left of this charge, and {asked.amount} was asked for."
        charged = charge_as_json(book, charge)
        raise Refused(409, "refund_exceeds_charge", detail, left_amount=left, charge=charged)
    return charge
