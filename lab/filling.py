"""Filling the shop's tables as years of selling would: millions of coupons and orders, every law holding.

Rows are made by the database itself, by the files of `sql/`, in bites: a bite is one transaction with its
counters, so an audit may look at any moment, though L5 is broken until `rebuild_product_days` has run.
Foreign keys, unique keys and checks stay on. MariaDB only: its sequences count.
`LAB=1 python -m lab.filling 1000000 5000` issues and orders so many in the stack that was started last, whose
state is in `FIRSTCOME_VAR`, as `var/` is.
"""

import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from lab.stack import database
from scripts.stack import instance as instances, places
from scripts.stack.instance import Instance

BITE = 50_000
"""Rows of a transaction: enough to be quick, few enough for its undo log to stay small."""
RETAINED_HOURS = 20
"""Within the retention of idempotency keys, which the housekeeping would clear away otherwise."""
CAMPAIGNS, ORDERS_OF_AN_ACCOUNT, CURRENCY = 20, 10, os.environ.get("CURRENCY", "KRW")
SHARED = {"products": 1_000, "discount": 1_000, "points": 500, "currency": CURRENCY}
"""What the files have in common: products, amounts of discounts and points, and their currency."""
SQL = Path(__file__).with_name("sql")
# Codes of 14 characters, as spread over their index as real ones that were issued hour after hour for weeks.
CODE = "CONCAT(LPAD(CONV(LEFT(MD5(UUID()), 15), 16, 32), 12, '0'), LPAD(MOD({number}, 100), 2, '0'))"


def join(instance: Instance, sale: int, *, count: int) -> None:
    """Let that many accounts join the waiting room of a sale that has not opened."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        _run(cursor, "accounts", count=count)
        _run(cursor, "entries", count=count, sale=sale)


def fill(instance: Instance, *, coupons: int, orders: int, hours: int = RETAINED_HOURS) -> None:
    """Issue that many coupons of new campaigns, and place that many orders of new products in these last
    hours, their charges in the gateway's book. After more than a day the shop has also lived: `lived.sql`."""
    with database.connected(instance) as connection, connection.cursor() as cursor:
        # Columns that no file names get what the shop's models write as well: nothing, or 0.
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        if coupons:
            each = -(-coupons // CAMPAIGNS)
            _run(cursor, "accounts", count=each)
            for number in range(CAMPAIGNS):
                _run(cursor, "campaign", quantity=each)
                for first, last in _bites(min(each, coupons - number * each), BITE):
                    _run(cursor, "coupons", first=first, last=last, code=CODE.format(number="number"))
        if orders:
            accounts = -(-orders // ORDERS_OF_AN_ACCOUNT)
            _run(cursor, "accounts", count=accounts)
            _run(cursor, "products", on_hand=orders * 10, count=orders, hours=hours)
            of: dict[str, Any] = {"accounts": accounts, "run": secrets.token_hex(2)[1:]}
            # An account orders once in a bite, so that no balance changes twice in a statement.
            for first, last in _bites(orders, min(BITE, accounts)):
                _run(cursor, "orders", first=first, last=last, code=CODE.format(number="n"), **of)
                _run(cursor, "charges")
                # A book that may be in use.
                with closing(sqlite3.connect(instance.data / "gateway.sqlite3", timeout=30)) as book, book:
                    book.executemany((SQL / "charges_booked.sql").read_text(), cursor.fetchall())
        if hours > RETAINED_HOURS:
            _run(cursor, "lived", hours=hours)


def _run(cursor: Any, name: str, **values: object) -> None:
    """Execute the statements of that file."""
    text = (SQL / f"{name}.sql").read_text().format(**SHARED, **values)
    for statement in filter(str.strip, text.split(";\n")):
        cursor.execute(statement)


def _bites(count: int, size: int) -> Iterator[tuple[int, int]]:
    """From 1 to `count`, in pieces: the first and the last number of each."""
    for first in range(1, count + 1, size):
        yield first, min(first + size - 1, count)


if __name__ == "__main__":
    there = instances.remembered(places.state())
    if os.environ.get("LAB") != "1" or there is None or there.database != "mariadb":
        sys.exit("these rows are for measuring: set LAB=1, beside a MariaDB where no customers buy")
    fill(there, coupons=int(sys.argv[1]), orders=int(sys.argv[2]))
