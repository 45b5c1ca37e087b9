"""Fill the shop with a demo: accounts, products, campaigns, sales."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.demo_accounts import BUYER, BUYER_PASSWORD, STAFF, STAFF_PASSWORD
from demo import seeding
from foundation.http.json_format import dump
from foundation.management import arguments
from foundation.management.progress import progress_bar

LARGEST = {"users": 1_000_000, "products": 9_999, "stock": 1_000_000_000}


class Command(BaseCommand):
    help = "Create missing demo data: accounts with points, products with stock, campaigns, sales."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--users", type=arguments.whole_number, default=100, help="numbered accounts: user-1, user-2, ..."
        )
        parser.add_argument(
            "--products", type=arguments.whole_number, default=20, help="products: DEMO-0001, DEMO-0002, ..."
        )
        parser.add_argument(
            "--stock", type=arguments.whole_number, default=1_000, help="units on hand of each new product"
        )
        parser.add_argument(
            "--tokens", type=Path, metavar="FILE", help="write tokens there that are valid for 24 h"
        )

    def handle(self, *, users: int, products: int, stock: int, tokens: Path | None, **_: Any) -> None:
        if not (settings.DEBUG or settings.DEMO):
            raise CommandError(
                "It makes a superuser whose password is published: set DEMO=1 where that is meant."
            )
        for name, count in {"users": users, "products": products, "stock": stock}.items():
            if not 0 <= count <= LARGEST[name]:
                raise CommandError(f"--{name} {count}: give a number from 0 to {LARGEST[name]:,}.")
        if tokens:
            # Before the work, to see that it can be written; only its owner may read the tokens.
            try:
                tokens.touch(mode=0o600)
                tokens.chmod(0o600)
            except OSError as error:
                raise CommandError(f"{tokens} can't be written: {error.strerror}.") from error
        seeding.seed_named_accounts()
        with progress_bar("accounts", users) as progress:
            seeding.seed_users(users, progress)
        # Scripts take the first product or the newest: those of sales, which need a place, are neither.
        seeding.seed_products(min(products, 1), stock)
        sales = seeding.seed_sales()
        seeding.seed_products(products, stock)
        campaigns = seeding.seed_campaigns()
        if tokens:
            tokens.write_bytes(
                dump({"staff": seeding.staff_token(), "users": [*seeding.numbered_users(users)]})
            )
        users, products = seeding.count_accounts_and_products()
        self.stdout.write(
            f"The demo has {users:,} numbered accounts, {products:,} products, {campaigns} campaigns and "
            f"{sales} sales with products of their own.\n"
            f"Sign in as {BUYER} / {BUYER_PASSWORD}, or to /admin/ as {STAFF} / {STAFF_PASSWORD}."
        )
        if tokens:
            self.stdout.write(f"Tokens, valid for 24 hours, are in {tokens}.")
