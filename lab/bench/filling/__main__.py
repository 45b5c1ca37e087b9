"""`python -m lab.bench.filling`: coupons and orders by the million, without buyers, for measuring."""

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import django
from django.conf import settings

from scripts.stack import SetupError, children


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the database of the environment, which is a stack's with `LAB=1`. Raises SetupError."""
    parser = argparse.ArgumentParser(prog="lab.bench.filling", description=__doc__)
    parser.add_argument("--coupons", type=int, default=0, help="how many to issue")
    parser.add_argument("--orders", type=int, default=0, help="how many to place")
    parser.add_argument("--book", type=Path, help="the gateway simulator's, for the orders' charges")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    from django.db import connection

    from lab.bench.filling import coupons, orders
    from shop.db.mysql.patience import long_read_timeout

    if not settings.LAB:
        raise SetupError("these rows are for measuring: set LAB=1 where no customers buy.")
    if not getattr(connection, "mysql_is_mariadb", False):
        raise SetupError("the tables are filled by sequences, which MariaDB alone has.")
    if asked.orders and (asked.book is None or not asked.book.exists()):
        raise SetupError("--orders needs --book: what is paid has to be charged somewhere.")
    # A transaction of many thousand rows may take longer than clients otherwise wait for the database.
    with long_read_timeout(connection):
        if asked.coupons:
            coupons.fill_coupons(asked.coupons)
        if asked.orders:
            try:
                orders.fill_orders(asked.orders, book=asked.book)
            except sqlite3.Error as error:
                what = f"{asked.book}, no book of the simulator's, can't be written"
                raise SetupError(f"{what}: {error}") from error
    return 0


if __name__ == "__main__":
    sys.exit(children.run_command("filling", main))
