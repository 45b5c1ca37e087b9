"""The gateway's book of refunds: one per key, and never more than is left of the charge."""

from typing import Any

from scripts.simulators.books import Book, Row, by_key, insert, new_id, now, transaction
from scripts.simulators.cards import card
from scripts.simulators.charges import as_json as charge_as_json
from scripts.simulators.charges import count_attempt
from scripts.simulators.http import Refused

SCHEMA = """
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


def refund(book: Book, *, key: str, charge_id: str, amount: int) -> Row | None:
    """Refund, or find what the key has refunded before. None when this attempt fails and refunds nothing.

    Raises Refused: no such charge, more than is left of it, or the key came with another body.
    """
    with transaction(book):
        attempt = count_attempt(book, kind="refund", key=key, asked={"charge": charge_id, "amount": amount})
        found = by_key(book, "refunds", key)
        if found is not None:
            return found
        charge = _refundable(book, charge_id=charge_id, amount=amount)
        if attempt <= card(charge["token"]).failed_refunds:
            return None
        _write(book, key=key, charge_id=charge_id, amount=amount)
        return by_key(book, "refunds", key)


def total(book: Book) -> tuple[int, int]:
    """How many refunds there are, and their amounts together."""
    row = book.execute("SELECT count(*), coalesce(sum(amount), 0) FROM refunds").fetchone()
    return row[0], row[1]


def as_json(row: Row) -> dict[str, Any]:
    """The refund as clients see it."""
    fields = {name: row[name] for name in ("id", "key", "amount", "created_at")}
    return {**fields, "charge": row["charge_id"], "status": "succeeded"}


def _refundable(book: Book, *, charge_id: str, amount: int) -> Row:
    """The charge, with so much of it left."""
    charge: Row | None = book.execute("SELECT * FROM charges WHERE id = ?", [charge_id]).fetchone()
    if charge is None:
        raise Refused(404, "charge_not_found", "There is no charge of this id.")
    left = charge["amount"] - charge["refunded_amount"] if charge["status"] == "succeeded" else 0
    if amount > left:
        detail = f"{left} is left of this charge, and {amount} was asked for."
        raise Refused(409, "refund_exceeds_charge", detail, left_amount=left, charge=charge_as_json(charge))
    return charge


def _write(book: Book, *, key: str, charge_id: str, amount: int) -> None:
    made = {"id": new_id("re"), "key": key, "created_at": now()}
    insert(book, "refunds", **made, charge_id=charge_id, amount=amount)
    book.execute("UPDATE charges SET refunded_amount = refunded_amount + ? WHERE id = ?", [amount, charge_id])
