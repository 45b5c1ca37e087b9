"""Filling the shop's tables as years of selling would: millions of coupons and orders, every law holding.

Rows are made by the database itself, by the SQL files beside this one, in bites: a bite is one transaction
with its counters, so an audit may look at any moment. Foreign keys, unique keys and checks stay on. MariaDB
only: its sequences count.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from lab.stack import database
from scripts.stack.instance import Instance

BITE = 50_000
"""Rows of a transaction: enough to be quick, few enough for its undo log to stay small."""
CAMPAIGNS, ORDERS_OF_AN_ACCOUNT, PRODUCTS, DISCOUNT_AMOUNT, POINTS_AMOUNT = 20, 10, 1_000, 1_000, 500
CURRENCY = os.environ.get("CURRENCY", "KRW")
# Codes of 14 characters, as spread over their index as real ones that were issued hour after hour for weeks.
CODE = "CONCAT(LPAD(CONV(LEFT(MD5(UUID()), 15), 16, 32), 12, '0'), LPAD(MOD({number}, 100), 2, '0'))"
CHARGED = """
SELECT payment_id, order_id, card_amount, status = 'paid', placed_at FROM filling_order
WHERE status IN ('paid', 'payment_failed') AND card_amount > 0 ORDER BY n
"""
ATTEMPT = "INSERT INTO attempts (kind, key, asked, count) VALUES ('charge', :key, :asked, 1)"
CHARGE = (
    "INSERT INTO charges (id, key, order_id, token, status, failure, amount, currency, created_at)"
    " VALUES (:id, :key, :order, :token, :status, :failure, :amount, :currency, :created_at)"
)


def fill(instance: Instance, *, coupons: int, orders: int) -> None:
    """Issue that many coupons of new campaigns, and place that many orders of new products, their charges in
    the gateway simulator's own book."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        # Columns that no file names get what the shop's models write as well: nothing, or 0.
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        if coupons:
            each = -(-coupons // CAMPAIGNS)
            _run(cursor, "accounts", count=each)
            for number in range(CAMPAIGNS):
                _run(cursor, "campaign", quantity=each, discount=DISCOUNT_AMOUNT)
                for first, last in _bites(min(each, coupons - number * each), BITE):
                    _run(cursor, "coupons", first=first, last=last, code=CODE.format(number="number"))
        if orders:
            accounts = -(-orders // ORDERS_OF_AN_ACCOUNT)
            _run(cursor, "accounts", count=accounts)
            _run(cursor, "products", products=PRODUCTS, on_hand=orders * 10, count=orders)
            of = {"products": PRODUCTS, "discount": DISCOUNT_AMOUNT, "points": POINTS_AMOUNT}
            of |= {"accounts": accounts, "run": secrets.token_hex(2)[1:]}
            # An account orders once in a bite, so that no balance changes twice in a statement.
            for first, last in _bites(orders, min(BITE, accounts)):
                code = CODE.format(number="n")
                _run(cursor, "orders", first=first, last=last, code=code, currency=CURRENCY, **of)
                cursor.execute(CHARGED)
                _charge(instance.data / "gateway.sqlite3", cursor.fetchall())


def _run(cursor: Any, name: str, **values: object) -> None:
    """Execute the statements of that file."""
    text = Path(__file__).with_name(f"{name}.sql").read_text().format(**values)
    for statement in filter(str.strip, text.split(";\n")):
        cursor.execute(statement)


def _bites(count: int, size: int) -> Iterator[tuple[int, int]]:
    """From 1 to `count`, in pieces: the first and the last number of each."""
    for first in range(1, count + 1, size):
        yield first, min(first + size - 1, count)


def _charge(path: Path, orders: Any) -> None:
    """Charge what the orders came to, in a book that may be in use."""
    rows = []
    for payment_id, order_id, amount, is_paid, placed_at in orders:
        asked = {
            "token": "tok_ok" if is_paid else "tok_declined",
            "amount": int(amount),
            "currency": CURRENCY,
            "order": str(order_id),
        }
        own = {
            "id": f"ch_{str(payment_id).replace('-', '')}",
            "key": f"payment-{payment_id}",
            # The bytes that the simulator compares a repeated call with.
            "asked": json.dumps(asked, separators=(",", ":")).encode(),
            "status": "succeeded" if is_paid else "declined",
            "failure": None if is_paid else "card_declined",
            "created_at": f"{placed_at.isoformat(timespec='microseconds')}Z",
        }
        rows.append(asked | own)
    with closing(sqlite3.connect(path, timeout=30)) as book, book:
        book.executemany(ATTEMPT, rows)
        book.executemany(CHARGE, rows)
