"""Filling the shop's tables as years of selling would: millions of coupons and orders, every law holding.

python -m scripts.bench.filling --coupons 5000000 --orders 1000000 --book var/mariadb/gateway.sqlite3

Rows are made by the database itself, bite by bite, each bite one transaction with its counters, so an audit
may look at any moment. Foreign keys, unique keys and checks stay on. MariaDB only: its sequences count.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts import environment, places
from scripts.instance import Instance
from scripts.setup_error import SetupError

CAMPAIGNS = 20
ORDERS_OF_AN_ACCOUNT = 10
BITE = 50_000
"""Rows of a transaction: enough to be quick, few enough for its undo log to stay small."""
Say = Callable[[str], None]


def fill_coupons(count: int, *, campaigns: int = CAMPAIGNS, say: Say = print) -> None:
    """Issue that many coupons of so many new campaigns, each to its next account, with their journal."""
    from scripts.bench import filling_accounts, filling_coupons

    each = -(-count // campaigns)
    filling_accounts.choose(each)
    left = count
    progress = _progress("coupons", count, say)
    for _ in range(campaigns):
        campaign_id = filling_coupons.open_campaign(quantity=each)
        for first, last in _bites(min(each, left), BITE):
            filling_coupons.issue(campaign_id, first=first, last=last)
            progress(last - first + 1)
        left -= min(each, left)


def fill_orders(count: int, *, book: Path, say: Say = print) -> None:
    """Place that many orders of new products and end them all ways, their charges in the gateway's `book`.

    Six in ten are paid, two in a hundred wait for their payment for two days; the rest expired, were
    cancelled or declined.
    """
    from scripts.bench import filling_accounts, filling_book, filling_orders

    accounts = max(1, -(-count // ORDERS_OF_AN_ACCOUNT))
    filling_accounts.choose(accounts)
    filling_orders.open_wallets()
    filling_orders.receive_stock(of_each=count * 10)
    begun_at, step = filling_orders.period(count)
    progress = _progress("orders", count, say)
    # An account orders once in a bite, so that nobody's balance changes twice in a statement.
    for first, last in _bites(count, min(BITE, accounts)):
        filling_orders.place(first=first, last=last, begun_at=begun_at, step=step)
        filling_book.charge(book)
        progress(last - first + 1)


def fill(instance: Instance, *, coupons: int = 0, orders: int = 0) -> None:
    """Fill the tables of a running instance, in a process of its own. Raises SetupError."""
    words = ["--coupons", str(coupons), "--orders", str(orders)]
    book = ["--book", str(instance.data / "gateway.sqlite3")]
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.bench.filling", *words, *book],
        cwd=places.PROJECT,
        env=environment.compose(instance, {}) | {"PATH": os.environ.get("PATH", "")},
        check=False,
    )
    if ran.returncode != 0:
        raise SetupError(f"filling ended with {ran.returncode}")


def _bites(count: int, size: int) -> Iterator[tuple[int, int]]:
    """From 1 to `count`, in pieces: the first and the last number of each."""
    for first in range(1, count + 1, size):
        yield first, min(first + size - 1, count)


def _progress(what: str, count: int, say: Say) -> Callable[[int], None]:
    """Tells how far it has come at each tenth."""
    started_at, done, told = time.monotonic(), 0, 0

    def further(number: int) -> None:
        nonlocal done, told
        done += number
        if done * 10 // count > told:
            told = done * 10 // count
            say(f"{done:,} of {count:,} {what}, {time.monotonic() - started_at:.0f} s")

    return further


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.filling", description=__doc__)
    parser.add_argument("--coupons", type=int, default=0, help="how many to issue")
    parser.add_argument("--orders", type=int, default=0, help="how many to place")
    parser.add_argument("--book", type=Path, help="the gateway simulator's book, for the orders' charges")
    asked = parser.parse_args()
    if asked.orders and asked.book is None:
        parser.error("--orders needs --book: what is paid has to be charged somewhere")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    import django

    django.setup()
    if asked.coupons:
        fill_coupons(asked.coupons, say=_say)
    if asked.orders:
        fill_orders(asked.orders, book=asked.book, say=_say)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
