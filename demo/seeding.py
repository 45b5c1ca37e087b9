"""Demo data: accounts with points, products with stock, campaigns and sales to try.

Only missing rows are created, so seeding may be repeated, interrupted and resumed.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import cycle
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from uuid_utils.compat import uuid7

from accounts.demo_accounts import BUYER, BUYER_PASSWORD, STAFF, STAFF_PASSWORD
from accounts.tokens import sign_outs, token_pairs
from coupons import campaigns, partners
from coupons.campaigns import Terms
from coupons.codes import pool
from coupons.models import Campaign
from foundation import clock
from foundation.db import transactions
from inventory import products
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.models import Product
from payments import ledger
from sales import terms as sale_terms
from sales.models import Sale

Progress = Callable[[int], None]

POINTS_AMOUNT = 10_000
BATCH_SIZE = 1_000
PRICES = {
    "Mug": 12_000,
    "T-shirt": 25_000,
    "Tote bag": 18_000,
    "Notebook": 9_000,
    "Poster": 15_000,
    "Sticker set": 4_000,
    "Cap": 22_000,
    "Umbrella": 31_000,
}
POOL = Campaign.CodeSource.POOL
POOL_CODES = 500
# Scarce products of the sales: the first delivery of each, and its limit for an account.
LAMP = StockRow(sku="DROP-LAMP", name="Desk lamp, numbered", price=48_000, quantity=20), 2
CHAIR = StockRow(sku="DROP-CHAIR", name="The last chair", price=90_000, quantity=1), None
PRINT = StockRow(sku="DROP-PRINT", name="Anniversary print", price=35_000, quantity=100), 1


def seed_named_accounts() -> None:
    """Create the account that the README signs in with, and a superuser."""
    _create_account(BUYER, BUYER_PASSWORD)
    _create_account(STAFF, STAFF_PASSWORD, is_staff=True, is_superuser=True)
    buyer = User.objects.get(username=BUYER).pk
    transactions.run(lambda: ledger.bulk_open_wallets([buyer], POINTS_AMOUNT), transactions.REPEATABLE)


def _create_account(username: str, password: str, **rights: bool) -> None:
    if not User.objects.filter(username=username).exists():
        User.objects.create_user(username, f"{username}@example.com", password, **rights)


def seed_users(count: int, progress: Progress) -> None:
    """Create `user-1` to `user-<count>`, each with points and with the demo account's password."""
    # One hash for all: hashing is slow by design, and these passwords are not secret.
    password = make_password(BUYER_PASSWORD)
    for names in _usernames(count):
        transactions.run(partial(_open_accounts, names, password), transactions.REPEATABLE)
        progress(len(names))


def _open_accounts(names: Sequence[str], password: str) -> None:
    users = [User(username=name, email=f"{name}@example.com", password=password) for name in names]
    User.objects.bulk_create(users, ignore_conflicts=True)
    ids = User.objects.filter(username__in=names).values_list("pk", flat=True)
    ledger.bulk_open_wallets([*ids], POINTS_AMOUNT)


def seed_products(count: int, stock: int) -> None:
    """Create `DEMO-0001` and so on, each with `stock` units on hand."""
    things = zip(range(1, count + 1), cycle(PRICES.items()), strict=False)
    rows = [
        StockRow(sku=f"DEMO-{number:04}", name=f"{name} no. {number}", price=price, quantity=stock)
        for number, (name, price) in things
    ]
    _create_missing(rows)


def _create_missing(rows: Sequence[StockRow]) -> None:
    known = set(Product.objects.filter(sku__in=[row.sku for row in rows]).values_list("sku", flat=True))
    importing.receive([row for row in rows if row.sku not in known], delivery_id=uuid7(), reason="Demo stock")


def seed_campaigns() -> int:
    """Create one campaign of each kind, identified by its name. Returns how many there are."""
    kinds = [
        # First, hence last in lists: scripts that take the newest open campaign don't depend on a partner.
        *(_terms("A snack on us", 1_000, amount=1_500, partner=name) for name in partners.configured()),
        _terms("Welcome", 10_000, amount=3_000, min_order_amount=10_000),
        _terms("Early bird", 1_000, percent=10, max_discount_amount=5_000, strategy="pessimistic"),
        _terms("The first hundred", 100, amount=5_000),
        _terms("Tomorrow's drop", 1_000, percent=30, opens_at=clock.now() + timedelta(days=1)),
        _terms("Golden tickets", POOL_CODES, percent=50, max_discount_amount=20_000, code_source=POOL),
    ]
    for terms in kinds:
        campaign = Campaign.objects.filter(name=terms["name"]).first() or campaigns.create(**terms)
        if campaign.code_source == POOL:
            pool.generate(campaign_id=campaign.pk, count=POOL_CODES - campaign.codes_added)
    return len(kinds)


def _terms(
    name: str,
    quantity: int,
    *,
    amount: int = 0,
    percent: int = 0,
    strategy: str = "group_commit",
    **more: Any,
) -> Terms:
    kind = Campaign.DiscountType.AMOUNT if amount else Campaign.DiscountType.PERCENT
    terms: Any = {"name": name, "quantity": quantity, "strategy": strategy, **more}
    return terms | {"discount_type": kind, "discount_value": amount or percent}


def seed_sales() -> int:
    """Create a sale that is open and one that opens soon, each with a waiting room and scarce products.

    Returns how many there are.
    """
    now = clock.now()
    room = sale_terms.Terms(
        admission=Sale.Admission.QUEUE,
        closes_at=now + timedelta(days=365),
        rate_per_minute=30,
        admitted_for_seconds=300,
    )
    sales = (
        (sale_terms.Terms(name="Numbered pieces", opens_at=now), (LAMP, CHAIR)),
        (sale_terms.Terms(name="Anniversary drop", opens_at=now + timedelta(minutes=5)), (PRINT,)),
    )
    for terms, goods in sales:
        if not Sale.objects.filter(name=terms["name"]).exists():
            limits = {row.sku: limit for row, limit in goods}
            _create_missing([row for row, _ in goods])
            ids = dict(Product.objects.filter(sku__in=limits).values_list("sku", "pk"))
            for sku, product_id in ids.items():
                products.change(product_id=product_id, limit_per_account=limits[sku])
            sale_terms.create(product_ids=[*ids.values()], **room | terms)
    return len(sales)


def count_accounts_and_products() -> tuple[int, int]:
    """The number of numbered accounts and of products, including those of earlier seedings."""
    users = User.objects.filter(username__startswith="user-", username__regex="^user-[0-9]+$")
    return users.count(), Product.objects.filter(sku__startswith="DEMO-").count()


def numbered_users(count: int) -> Iterator[dict[str, Any]]:
    """The numbered accounts in order, with fresh tokens."""
    for names in _usernames(count):
        users = {user.username: user for user in User.objects.filter(username__in=names)}
        for name in names:
            yield {"id": users[name].pk, "username": name, "access": _token(users[name])}


def _usernames(count: int) -> Iterator[Sequence[str]]:
    names = [f"user-{number}" for number in range(1, count + 1)]
    return (names[start : start + BATCH_SIZE] for start in range(0, count, BATCH_SIZE))


def staff_token() -> str:
    return _token(User.objects.get(username=STAFF))


def _token(user: User) -> str:
    number = sign_outs.last_sign_out_number(user.pk)
    return token_pairs.create_access_token(user, lifetime=timedelta(hours=24), issued_after=number)
