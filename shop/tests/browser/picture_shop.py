"""The shop that pictures show: the demo's goods, campaigns and sales, buyers with names, and their orders."""

import itertools
import threading
from contextlib import contextmanager
from typing import NamedTuple
from uuid import uuid4

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import transaction

from accounts.demo_accounts import BUYER, BUYER_PASSWORD
from accounts.signing_in.password_hashing import Argon2Hasher
from coupons.models import Campaign
from demo import seeding
from foundation import clock
from foundation.approval_models import Approval
from foundation.operations.audits import scheduled_audit
from foundation.tests.factories import AccountFactory, SuperuserFactory, reloaded
from foundation.tests.racing import wait_until
from inventory import adjustments, products
from inventory.models import Product
from orders.models import Order, OrderNote
from orders.tests import buying
from payments import ledger
from payments.models import Payment
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.tests.granting import asked_for, granter
from payments.tests.own_gateway import on_its_page
from sales.models import Sale
from sales.tests.factories import join_many
from shop.tests.browser.stack import Stack, call

GIVEN = ["minjun", "seoyeon", "jiho", "haeun", "doyun", "sua", "yejun", "jiwoo", "eunwoo", "chaewon"]
FAMILY = ["kim", "lee", "park", "choi", "jung", "kang", "cho", "yoon"]
# The cards of the buyers, in turn: most are charged.
CARDS = ["tok_ok"] * 7 + ["tok_declined", "tok_3ds"]
PAUSE_SECONDS = 0.3


class PictureShop(NamedTuple):
    """Its operator, a clerk who may do little, and what the pictures are of."""

    olga: User
    clerk: User
    campaign: Campaign
    product: Product
    sale: Sale
    refunded: Order
    disputed: Order
    approval: Approval


def fill(stack: Stack) -> PictureShop:
    olga: User = SuperuserFactory(username="olga", email="olga@example.com")
    seeding.seed_named_accounts()
    password = make_password(BUYER_PASSWORD, hasher=Argon2Hasher())
    User.objects.filter(username=BUYER).update(password=password)
    seeding.seed_products(8, 400)
    seeding.seed_campaigns()
    seeding.seed_sales()
    drop, lamp = Campaign.objects.get(name="Early bird"), Product.objects.get(sku="DEMO-0008")
    products.change(product_id=lamp.pk, low_stock_threshold=300, limit_per_account=4)
    adjustments.receive(product_id=lamp.pk, quantity=20, reason="The second delivery")
    refunded, disputed, *_ = (
        bought(stack, buyer, drop, product, card)
        for buyer, card, product in zip(open_accounts(), CARDS * 3, itertools.cycle(goods()), strict=False)
    )
    buying.refund(refunded, lamp)
    note = "She calls back on Thursday."
    OrderNote.objects.create(order=refunded, author_id=olga.pk, text=note, created_at=clock.now())
    charged = Payment.objects.get(order=disputed)
    on_its_page("/disputes", charge=charged.charge_reference, amount=charged.card_amount)
    reconciling.reconcile(fix=Fix.OURS)
    scheduled_audit.run_due()
    clerk = granter(username="jimin")
    wish = asked_for(clerk, refunded.account, reason="The parcel was lost twice.")
    for sale in Sale.objects.all():
        join_many(sale, 130)
    return PictureShop(olga, clerk, drop, lamp, Sale.objects.latest("pk"), reloaded(refunded), disputed, wish)


def open_accounts() -> list[User]:
    """Buyers with points."""
    found = [
        AccountFactory(username=f"{given}.{family}", email=f"{given}.{family}@example.com")
        for given, family in itertools.product(GIVEN, FAMILY)
    ]
    with transaction.atomic():
        ledger.bulk_open_wallets([one.pk for one in found], 10_000)
    return found


def goods() -> list[Product]:
    return list(Product.objects.filter(sku__startswith="DEMO-").order_by("-pk"))


def bought(stack: Stack, buyer: User, drop: Campaign, product: Product, card: str) -> Order:
    """The buyer's order of three units with a coupon of the campaign and points, its payment over."""
    coupon = call(stack.address, buyer, "POST", "/coupons", {"campaign": drop.pk}).json()["code"]
    body = buying.order_of(product, card, quantity=3, coupon=coupon, points_amount=2_500)
    order = Order.objects.get(pk=place(stack, buyer, body)["id"])
    if card != "tok_3ds":
        wait_until(lambda: reloaded(order).status not in ("awaiting_payment", "paying"), seconds=60)
    return order


def place(stack: Stack, buyer: User, body):
    return call(stack.address, buyer, "POST", "/orders", body, **{"Idempotency-Key": str(uuid4())}).json()


@contextmanager
def buyers_at_it(stack: Stack):
    """Buyers who take coupons and buy, one after the other, until the block ends."""
    is_over = threading.Event()
    campaigns = Campaign.objects.filter(name__in=["Early bird", "The first hundred", "Golden tickets"])
    buyers = itertools.cycle(User.objects.filter(username__contains=".").order_by("-pk"))
    rounds = zip(buyers, itertools.cycle(campaigns), itertools.cycle(goods()), strict=False)

    def buy():
        while not is_over.wait(PAUSE_SECONDS):
            buyer, campaign, product = next(rounds)
            call(stack.address, buyer, "POST", "/coupons", {"campaign": campaign.pk})
            place(stack, buyer, buying.order_of(product, "tok_ok"))

    thread = threading.Thread(target=buy)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
