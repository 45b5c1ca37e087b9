"""The gateway's side of the filled orders: their charges, written into the simulator's own book."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

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
    """Charge what the orders came to in the gateway simulator's own book, which may be in use."""
    with connection.cursor() as cursor:
        cursor.execute(CHARGED)
        rows = [_row(*row) for row in cursor.fetchall()]
    with closing(sqlite3.connect(path, timeout=30)) as book, book:
        book.executemany(ATTEMPT, rows)
        book.executemany(CHARGE, rows)


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
        # The bytes that the simulator compares a repeated call with.
        "asked": json.dumps(asked, separators=(",", ":")).encode(),
        "status": "succeeded" if is_paid else "declined",
        "failure": None if is_paid else "card_declined",
        "created_at": f"{placed_at.isoformat(timespec='microseconds')}Z",
    }
