"""Disputes of charges in the gateway's book: the card's owner begins one at their bank, which decides it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from scripts.simulators import process, webhooks
from scripts.simulators.books import Book, Row, by_key, insert, new_id, now, transaction, written
from scripts.simulators.process import Amount, Refused, Text

SCHEMA = """
CREATE TABLE IF NOT EXISTS disputes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    charge_id TEXT NOT NULL REFERENCES charges (id),
    status TEXT NOT NULL CHECK (status IN ('open', 'won', 'lost')),
    amount INTEGER NOT NULL CHECK (amount > 0),
    due_at TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS disputes_of_charge ON disputes (charge_id);
"""
ANSWER_DAYS = 7
"""How long the shop has for its answer, which the simulator doesn't take."""


class DisputeBody(process.Body):
    """The dispute of the card's owner; without an amount it is of all that is left of the charge."""

    charge: Text
    amount: Amount | None = None


class CloseBody(process.Body):
    """The decision of the owner's bank: whether the shop has won."""

    status: Literal["won", "lost"]


def held_amount(book: Book, charge_id: str) -> int:
    """What open and lost disputes hold of the charge."""
    statement = (
        "SELECT coalesce(sum(amount), 0) AS held FROM disputes WHERE charge_id = ? AND status <> 'won'"
    )
    return int(book.execute(statement, [charge_id]).fetchone()["held"])


def left_amount(book: Book, charge: Row) -> int:
    """What is left of the charge: neither refunded nor disputed."""
    if charge["status"] != "succeeded":
        return 0
    return int(charge["amount"] - charge["refunded_amount"] - held_amount(book, charge["id"]))


def open_dispute(book: Book, *, key: str, asked: DisputeBody) -> Row:
    """Begin a dispute, once per key, and write a webhook about it. Raises Refused."""
    with transaction(book):
        found = by_key(book, "disputes", key)
        if found is not None:
            return found
        charge = book.execute("SELECT * FROM charges WHERE id = ?", [asked.charge]).fetchone()
        if charge is None:
            raise Refused(404, "charge_not_found", "There is no charge of this id.")
        left = left_amount(book, charge)
        amount = asked.amount or left
        if not 0 < amount <= left:
            raise Refused(409, "dispute_exceeds_charge", f"{left} is left of this charge.", left_amount=left)
        due_at = written(datetime.now(UTC) + timedelta(days=ANSWER_DAYS))
        cells = {"id": new_id("dp"), "key": key, "charge_id": charge["id"], "status": "open"}
        dispute = insert(book, "disputes", amount=amount, due_at=due_at, created_at=now(), **cells)
        webhooks.write(book, charge, type="charge.disputed", amount=amount)
        return dispute


def close(book: Book, dispute_id: str, *, asked: CloseBody) -> Row:
    """End an open dispute, and write a webhook about it. Raises Refused for one that has ended otherwise."""
    statement = "UPDATE disputes SET status = ? WHERE id = ? AND status = 'open' RETURNING *"
    with transaction(book):
        for ended in book.execute(statement, [asked.status, dispute_id]).fetchall():
            charge = book.execute("SELECT * FROM charges WHERE id = ?", [ended["charge_id"]]).fetchone()
            webhooks.write(book, charge, type="dispute.closed", amount=ended["amount"])
        found: Row | None = book.execute("SELECT * FROM disputes WHERE id = ?", [dispute_id]).fetchone()
    if found is None:
        raise Refused(404, "dispute_not_found", "There is no dispute of this id.")
    if found["status"] != asked.status:
        raise Refused(409, "dispute_closed", f"The dispute has ended: it is {found['status']}.")
    return found


def of_charge(book: Book, charge_id: str) -> list[Row]:
    """The disputes of the charge, oldest first."""
    statement = "SELECT * FROM disputes WHERE charge_id = ? ORDER BY number"
    return book.execute(statement, [charge_id]).fetchall()


def as_json(book: Book, row: Row) -> dict[str, Any]:
    """The dispute as clients see it."""
    charge = book.execute("SELECT currency FROM charges WHERE id = ?", [row["charge_id"]]).fetchone()
    fields = {name: row[name] for name in ("id", "key", "status", "amount", "due_at", "created_at")}
    return {**fields, "charge": row["charge_id"], "currency": charge["currency"]}
