"""Fill the tables with coupons and orders by the million, for measuring."""

import sqlite3
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from shop.db.mysql.patience import long_read_timeout
from shop.management import arguments, filling


class Command(BaseCommand):
    help = "Issue coupons and place orders without buyers, as years of selling leave them (LAB=1)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--coupons", type=arguments.whole_number, default=0, help="how many to issue")
        parser.add_argument(
            "--campaigns",
            type=arguments.whole_number,
            default=filling.CAMPAIGNS,
            help="of how many new campaigns; an account has one coupon of each (%(default)s)",
        )
        parser.add_argument("--orders", type=arguments.whole_number, default=0, help="how many to place")
        parser.add_argument(
            "--book",
            type=Path,
            help="the gateway simulator's book, for the orders' charges; it must be there",
        )

    def handle(self, *, coupons: int, campaigns: int, orders: int, book: Path | None, **_: Any) -> None:
        if not settings.LAB:
            raise CommandError("these rows are for measuring: set LAB=1 where no customers buy.")
        if not getattr(connection, "mysql_is_mariadb", False):
            raise CommandError("the tables are filled by sequences, which MariaDB alone has.")
        if campaigns < 1:
            raise CommandError("--campaigns is a number of at least 1.")
        if orders and (book is None or not book.exists()):
            raise CommandError("--orders needs --book: what is paid has to be charged somewhere.")
        # A transaction of many thousand rows may take longer than clients otherwise wait for the database.
        with long_read_timeout(connection):
            if coupons:
                filling.fill_coupons(coupons, campaigns=campaigns, say=self._say)
            if orders and book:
                try:
                    filling.fill_orders(orders, book=book, say=self._say)
                except sqlite3.Error as error:
                    raise CommandError(
                        f"{book} can't be written ({error}): is it the gateway simulator's?"
                    ) from error

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
