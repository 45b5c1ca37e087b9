"""Demo data: accounts with points, products with stock, campaigns and sales to try.

Only missing rows are created, so seeding may be repeated, interrupted and resumed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from uuid_utils.compat import uuid7

from coupons import campaigns, partners, pool
from coupons.campaigns import Terms
from coupons.models import Campaign
from inventory import products
from inventory.imports import importing
from inventory.imports.importing import StockRow
from inventory.models import Product
from payments import ledger
from sales import terms as sale_terms
from sales.models import Sale
from shop import clock
from shop.accounts import sign_outs, tokens
from shop.accounts.demo_accounts import BUYER, BUYER_PASSWORD, STAFF, STAFF_PASSWORD
from shop.db import transactions
from shop.models import SignOut

Progress = Callable[[int], None]

POINTS_AMOUNT = 10_000
TOKEN_LIFETIME = timedelta(hours=24)
BATCH_SIZE = 1_000
PRODUCT_NAMES = ("Mug", "T-shirt", "Tote bag", "Notebook", "Poster", "Sticker set", "Cap", "Umbrella")
PRICES = (12_000, 25_000, 18_000, 9_000, 15_000, 4_000, 22_000, 31_000)
POOL_CODES = 500
OPENS_AFTER = timedelta(minutes=5)
SALE_LASTS = timedelta(days=365)


@dataclass(frozen=True)
class ScarceProduct:
    """A product of a sale: its first delivery, and its limit for an account."""

    row: StockRow
    limit: int | None


@dataclass(frozen=True)
class NumberedAccount:
    """One of the numbered accounts, with an access token for it."""

    id: int
    username: str
    access: str


def seed_named_accounts() -> None:
    """Create the account that the README signs in with, and a superuser."""
    _create_account(BUYER, BUYER_PASSWORD)
    _create_account(STAFF, STAFF_PASSWORD, is_staff=True, is_superuser=True)
    buyer = User.objects.get(username=BUYER).pk
    transactions.run(lambda: ledger.bulk_open_wallets([buyer], POINTS_AMOUNT), transactions.REPEATABLE)


def seed_users(count: int, progress: Progress) -> None:
    """Create `user-1` to `user-<count>`, each with points and with the demo account's password."""
    # One hash for all: hashing is slow by design, and these passwords are not secret.
    password = make_password(BUYER_PASSWORD)
    for names in _chunks(_usernames(count)):
        transactions.run(partial(_open_accounts, names, password), transactions.REPEATABLE)
        progress(len(names))


def seed_products(count: int, stock: int) -> None:
    """Create `DEMO-0001` and so on, each with `stock` units on hand."""
    _create_missing([_product_row(number, stock) for number in range(1, count + 1)])


def seed_campaigns() -> None:
    """Create one campaign of each kind, identified by its name."""
    for terms in _campaign_terms():
        campaign = Campaign.objects.filter(name=terms["name"]).first() or campaigns.create(**terms)
        if campaign.code_source == Campaign.CodeSource.POOL:
            pool.generate(campaign_id=campaign.pk, count=campaign.quantity - campaign.codes_added)


def seed_sales() -> None:
    """Create a sale that is open and one that opens soon, each with a waiting room and scarce products."""
    for goods, terms in _sale_terms():
        if not Sale.objects.filter(name=terms["name"]).exists():
            sale_terms.create(product_ids=_sale_products(goods), **terms)


def count_sales() -> int:
    """The number of demo sales."""
    return len(_sale_terms())


def count_campaigns() -> int:
    """The number of demo campaigns with this configuration."""
    return len(_campaign_terms())


def count_accounts_and_products() -> tuple[int, int]:
    """The number of numbered accounts and of products, including those of earlier seedings."""
    users = User.objects.filter(username__startswith="user-", username__regex="^user-[0-9]+$")
    return users.count(), Product.objects.filter(sku__startswith="DEMO-").count()


def numbered_users(count: int) -> Iterator[NumberedAccount]:
    """The numbered accounts in order, with fresh tokens."""
    for names in _chunks(_usernames(count)):
        users = {user.username: user for user in User.objects.filter(username__in=names)}
        done = SignOut.objects.filter(account_id__in=[user.pk for user in users.values()]).order_by("at")
        numbers = {row.account_id: sign_outs.number_of(row.at) for row in done}
        for name in names:
            user = users[name]
            yield NumberedAccount(user.pk, name, _token(user, numbers.get(user.pk, 0)))


def staff_token() -> str:
    """An access token of the superuser."""
    staff = User.objects.get(username=STAFF)
    return _token(staff, sign_outs.last_sign_out_number(staff.pk))


def _token(user: User, sign_out_number: int) -> str:
    return tokens.create_access_token(user, lifetime=TOKEN_LIFETIME, issued_after=sign_out_number)


def _open_accounts(names: Sequence[str], password: str) -> None:
    known = set(User.objects.filter(username__in=names).values_list("username", flat=True))
    User.objects.bulk_create(
        User(username=name, email=f"{name}@example.com", password=password)
        for name in names
        if name not in known
    )
    ids = User.objects.filter(username__in=names).values_list("pk", flat=True)
    ledger.bulk_open_wallets(list(ids), POINTS_AMOUNT)


def _create_account(username: str, password: str, **rights: bool) -> None:
    if not User.objects.filter(username=username).exists():
        User.objects.create_user(username, f"{username}@example.com", password, **rights)


def _product_row(number: int, stock: int) -> StockRow:
    thing = (number - 1) % len(PRODUCT_NAMES)
    return StockRow(0, f"DEMO-{number:04}", f"{PRODUCT_NAMES[thing]} no. {number}", PRICES[thing], stock)


def _campaign_terms() -> list[Terms]:
    in_a_day = clock.now() + timedelta(days=1)
    amount, percent = Campaign.DiscountType.AMOUNT, Campaign.DiscountType.PERCENT
    return [
        # First, hence last in lists: scripts that take the newest open campaign don't depend on a partner.
        *map(_partner_campaign_terms, partners.configured()),
        Terms(
            name="Welcome",
            strategy="group_commit",
            quantity=10_000,
            discount_type=amount,
            discount_value=3_000,
            min_order_amount=10_000,
        ),
        Terms(
            name="Early bird",
            strategy="pessimistic",
            quantity=1_000,
            discount_type=percent,
            discount_value=10,
            max_discount_amount=5_000,
        ),
        Terms(
            name="The first hundred",
            strategy="group_commit",
            quantity=100,
            discount_type=amount,
            discount_value=5_000,
        ),
        Terms(
            name="Tomorrow's drop",
            strategy="group_commit",
            quantity=1_000,
            opens_at=in_a_day,
            discount_type=percent,
            discount_value=30,
        ),
        Terms(
            name="Golden tickets",
            strategy="group_commit",
            quantity=POOL_CODES,
            code_source=Campaign.CodeSource.POOL,
            discount_type=percent,
            discount_value=50,
            max_discount_amount=20_000,
        ),
    ]


def _sale_terms() -> list[tuple[list[ScarceProduct], sale_terms.Terms]]:
    """The products of each sale, and its terms."""
    now = clock.now()
    room = sale_terms.Terms(
        admission=Sale.Admission.QUEUE,
        closes_at=now + SALE_LASTS,
        rate_per_minute=30,
        admitted_for_seconds=300,
    )
    lamp = ScarceProduct(StockRow(0, "DROP-LAMP", "Desk lamp, numbered", 48_000, 20), limit=2)
    chair = ScarceProduct(StockRow(0, "DROP-CHAIR", "The last chair", 90_000, 1), limit=None)
    picture = ScarceProduct(StockRow(0, "DROP-PRINT", "Anniversary print", 35_000, 100), limit=1)
    return [
        ([lamp, chair], room | sale_terms.Terms(name="Numbered pieces", opens_at=now)),
        ([picture], room | sale_terms.Terms(name="Anniversary drop", opens_at=now + OPENS_AFTER)),
    ]


def _sale_products(goods: Sequence[ScarceProduct]) -> list[int]:
    """The ids of the products; those that are missing are created."""
    _create_missing([one.row for one in goods])
    skus = [one.row.sku for one in goods]
    ids = dict(Product.objects.filter(sku__in=skus).values_list("sku", "pk"))
    for one in goods:
        products.change(product_id=ids[one.row.sku], limit_per_account=one.limit)
    return list(ids.values())


def _create_missing(rows: Sequence[StockRow]) -> None:
    known = set(Product.objects.filter(sku__in=[row.sku for row in rows]).values_list("sku", flat=True))
    missing = [row for row in rows if row.sku not in known]
    importing.receive(missing, delivery_id=uuid7(), reason="Demo stock")


def _partner_campaign_terms(name: str) -> Terms:
    return Terms(
        name="A snack on us",
        strategy="group_commit",
        quantity=1_000,
        partner=name,
        discount_type=Campaign.DiscountType.AMOUNT,
        discount_value=1_500,
    )


def _usernames(count: int) -> list[str]:
    return [f"user-{number}" for number in range(1, count + 1)]


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), BATCH_SIZE):
        yield names[start : start + BATCH_SIZE]
