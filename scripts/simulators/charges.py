"""The gateway's book: a key is charged at most once, never once cancelled; refunds never exceed a charge.

A dispute is begun by the card's owner at their bank, which decides it; it holds its amount of the charge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from pydantic import StringConstraints

from scripts.simulators import process, webhooks
from scripts.simulators.books import Book, Row, find, insert, new_id, now, rows, transaction, written
from scripts.simulators.process import Amount, Currency, Refused, Text

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
CREATE TABLE IF NOT EXISTS disputes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL REFERENCES charges (id), amount INTEGER NOT NULL CHECK (amount > 0),
    status TEXT NOT NULL CHECK (status IN ('open', 'won', 'lost')),
    due_at TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS disputes_of_charge ON disputes (charge_id);
"""
TOTALS = """
SELECT * FROM
    (SELECT coalesce(sum(amount), 0) AS charged_amount, count(*) AS charges
     FROM charges WHERE status = 'succeeded'),
    (SELECT coalesce(sum(amount), 0) AS refunded_amount, count(*) AS refunds FROM refunds)
"""
HELD = "SELECT coalesce(sum(amount), 0) AS held FROM disputes WHERE charge_id = ? AND status <> 'won'"
ANSWER_DAYS = 7
"""How long the shop has for its answer to a dispute, which the simulator doesn't take."""
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
        detail = f"No card has this token. There is {', '.join(CARDS)}."
        raise Refused(400, "unknown_token", detail, field="token")
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


class CloseBody(process.Body):
    """The decision of the owner's bank: whether the shop has won."""

    status: Literal["won", "lost"]


def charge(book: Book, *, key: str, asked: ChargeBody, pages_at: str) -> tuple[Row | None, bool]:
    """Charge, or find what the key has led to before: the charge, and whether this attempt made it.

    The charge is None when this attempt fails and leaves none. A new charge of a slow card is pending:
    `end` ends it, or its owner, where the card needs a confirmation, on a page at the address `pages_at`.
    Raises Refused for a key with another body.
    """
    # Where the page leads back to is no part of what is charged.
    fields = asked.model_dump(exclude={"return_url"})
    with transaction(book):
        attempt = _count_attempt(book, kind="charge", key=key, asked=fields)
        if found := find(book, "charges", key=key):
            return found, False
        used = card(asked.token)
        if attempt <= used.failed_attempts or not used.is_charged:
            return None, False
        is_open = used.seconds or used.is_confirmed
        status = "declined" if used.failure else "pending" if is_open else "succeeded"
        fields |= {"order_id": fields.pop("order"), "failure": used.failure}
        made = insert(book, "charges", id=new_id("ch"), key=key, status=status, created_at=now(), **fields)
        if used.is_confirmed:
            url = f"{pages_at.rstrip('/')}/3ds/{made['id']}"
            insert(book, "confirmations", charge_id=made["id"], url=url, return_url=asked.return_url)
        return made, True


def end(book: Book, charge_id: str, *, failure: str | None = None) -> Row | None:
    """End a charge as succeeded, or declined with this failure, unless it has ended; return it as it is now.

    Where the answer did not wait for the end, a webhook is written.
    """
    status = "declined" if failure else "succeeded"
    statement = "UPDATE charges SET status = ?, failure = ? WHERE id = ? AND status = 'pending' RETURNING *"
    with transaction(book):
        for ended in book.execute(statement, [status, failure, charge_id]).fetchall():
            if not card(ended["token"]).is_awaited:
                webhooks.write(book, ended)
        return find(book, "charges", id=charge_id)


def confirmation(book: Book, charge_id: str) -> Any:
    """Where the owner confirms the charge, and is led back to; None for one that needs no confirmation."""
    return book.execute("SELECT * FROM confirmations WHERE charge_id = ?", [charge_id]).fetchone()


def cancel(book: Book, *, key: str) -> Row:
    """Make sure that no charge of this key is made from now on; return the charge, cancelled or declined.

    Where there is no charge yet, a cancelled one of amount 0 takes its place. Raises Refused when too late.
    """
    with transaction(book):
        book.execute("UPDATE charges SET status = 'cancelled' WHERE key = ? AND status = 'pending'", [key])
        blank = {"id": new_id("ch"), "key": key, "status": "cancelled", "created_at": now()}
        found = find(book, "charges", key=key) or insert(book, "charges", amount=0, **blank)
    if found["status"] == "succeeded":
        charged = charge_as_json(book, found)
        raise Refused(409, "already_charged", "This key has been charged: refund it.", charge=charged)
    return found


def refund(book: Book, *, key: str, asked: RefundBody) -> Row | None:
    """Refund, or find what the key has refunded before. None when this attempt fails and refunds nothing.

    Raises Refused: no such charge, more than is left of it, or the key came with another body.
    """
    with transaction(book):
        attempt = _count_attempt(book, kind="refund", key=key, asked=asked.model_dump())
        if found := find(book, "refunds", key=key):
            return found
        charged = _existing(book, asked.charge)
        left = left_amount(book, charged)
        if asked.amount > left:
            detail = f"{left} is left of this charge, and {asked.amount} was asked for."
            more = {"left_amount": left, "charge": charge_as_json(book, charged)}
            raise Refused(409, "refund_exceeds_charge", detail, **more)
        if attempt <= card(charged["token"]).failed_refunds:
            return None
        statement = "UPDATE charges SET refunded_amount = refunded_amount + ? WHERE id = ?"
        book.execute(statement, [asked.amount, asked.charge])
        made = {"id": new_id("re"), "key": key, "created_at": now()}
        webhooks.write(book, charged, type="charge.refunded", amount=asked.amount)
        return insert(book, "refunds", charge_id=asked.charge, amount=asked.amount, **made)


def dispute(book: Book, *, key: str, asked: DisputeBody) -> Row:
    """Begin a dispute, once per key, and write a webhook about it. Raises Refused."""
    with transaction(book):
        if found := find(book, "disputes", key=key):
            return found
        charge = _existing(book, asked.charge)
        left = left_amount(book, charge)
        amount = asked.amount or left
        if not 0 < amount <= left:
            raise Refused(409, "dispute_exceeds_charge", f"{left} is left of this charge.", left_amount=left)
        due_at = written(datetime.now(UTC) + timedelta(days=ANSWER_DAYS))
        cells = {"id": new_id("dp"), "key": key, "charge_id": charge["id"], "status": "open"}
        webhooks.write(book, charge, type="charge.disputed", amount=amount)
        return insert(book, "disputes", amount=amount, due_at=due_at, created_at=now(), **cells)


def close(book: Book, dispute_id: str, *, asked: CloseBody) -> Row:
    """End an open dispute, and write a webhook about it. Raises Refused for one that has ended otherwise."""
    statement = "UPDATE disputes SET status = ? WHERE id = ? AND status = 'open' RETURNING *"
    with transaction(book):
        for ended in book.execute(statement, [asked.status, dispute_id]).fetchall():
            charge = _existing(book, ended["charge_id"])
            webhooks.write(book, charge, type="dispute.closed", amount=ended["amount"])
        found = find(book, "disputes", id=dispute_id)
    if found is None:
        raise Refused(404, "dispute_not_found", "There is no dispute of this id.")
    if found["status"] != asked.status:
        raise Refused(409, "dispute_closed", f"The dispute has ended: it is {found['status']}.")
    return found


def left_amount(book: Book, charge: Row) -> int:
    """What is left of the charge: neither refunded nor held by an open or lost dispute."""
    if charge["status"] != "succeeded":
        return 0
    held = book.execute(HELD, [charge["id"]]).fetchone()["held"]
    return int(charge["amount"] - charge["refunded_amount"] - held)


def charge_as_json(book: Book, row: Row) -> dict[str, Any]:
    """The charge as clients see it: with `next_action` while it waits for its owner, and its `disputes`."""
    names = ("id", "key", "status", "amount", "refunded_amount", "currency", "created_at")
    fields = {name: row[name] for name in names} | {"order": row["order_id"]}
    if row["failure"]:
        fields["failure"] = {"code": row["failure"], "detail": FAILURES[row["failure"]]}
    if row["status"] == "pending" and (found := confirmation(book, row["id"])):
        fields["next_action"] = {"type": "redirect", "url": found["url"]}
    if disputed := rows(book, "disputes", {"charge_id = ?": row["id"]}):
        fields["disputes"] = [dispute_as_json(book, dispute) for dispute in disputed]
    return fields


def refund_as_json(row: Row) -> dict[str, Any]:
    fields = {name: row[name] for name in ("id", "key", "amount", "created_at")}
    return {**fields, "charge": row["charge_id"], "status": "succeeded"}


def dispute_as_json(book: Book, row: Row) -> dict[str, Any]:
    fields = {name: row[name] for name in ("id", "key", "status", "amount", "due_at", "created_at")}
    currency = _existing(book, row["charge_id"])["currency"]
    return {**fields, "charge": row["charge_id"], "currency": currency}


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


def _existing(book: Book, charge_id: str) -> Row:
    if (charge := find(book, "charges", id=charge_id)) is None:
        raise Refused(404, "charge_not_found", "There is no charge of this id.")
    return charge
