"""The gateway's side of the filled orders: their charges, written into the simulator's own book."""

from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from scripts.simulators import books, charges, refunds, webhooks

CHARGED = """
SELECT payment_id, order_id, card_amount, status, placed_at FROM filling_order
WHERE status IN ('paid', 'payment_failed') AND card_amount > 0 ORDER BY n
"""
ATTEMPT = "INSERT INTO attempts (kind, key, asked, count) VALUES ('charge', :key, :asked, 1)"
CHARGE = (
    "INSERT INTO charges (id, key, order_id, token, status, failure, amount, currency, created_at)"
    " VALUES (:id, :key, :order, :token, :status, :failure, :amount, :currency, :created_at)"
)


def charge(path: Path) -> None:
    """Charge what the orders of `filling_order` came to, and decline what failed. The simulator may run."""
    with connection.cursor() as cursor:
        cursor.execute(CHARGED)
        rows = [_row(*row) for row in cursor.fetchall()]
    book = books.open_book(path, charges.SCHEMA + refunds.SCHEMA + webhooks.SCHEMA)
    try:
        with books.transaction(book):
            book.executemany(ATTEMPT, rows)
            book.executemany(CHARGE, rows)
    finally:
        book.close()


def _row(payment_id: Any, order_id: Any, amount: Any, status: str, placed_at: Any) -> dict[str, Any]:
    is_paid = status == "paid"
    asked = {
        "token": "tok_ok" if is_paid else "tok_declined",
        "amount": int(amount),
        "currency": settings.CURRENCY,
        "order": str(order_id),
    }
    return asked | {
        "id": f"ch_{str(payment_id).replace('-', '')}",
        "key": f"payment-{payment_id}",
        "asked": orjson.dumps(asked),
        "status": "succeeded" if is_paid else "declined",
        "failure": None if is_paid else "card_declined",
        "created_at": f"{placed_at.isoformat(timespec='microseconds')}Z",
    }
