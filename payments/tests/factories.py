"""Rows for tests: wallets whose points came in by a grant, as in life, payments, and orders to pay."""

from datetime import timedelta
from uuid import UUID, uuid4

import factory
from django.apps import apps
from django.db import transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from payments import ledger
from payments.models import Payment
from shop.tests.factories import AccountFactory


def wallet(points: int = 0) -> int:
    """The id of a new account whose wallet holds so many points."""
    user_id: int = AccountFactory.create().id
    with transaction.atomic():
        ledger.bulk_open_wallets([user_id], points)
    return user_id


def order(account_id: int | None = None, *, card_amount: int = 0, points_amount: int = 0) -> UUID:
    """The id of a new order that comes to these amounts; its lines are nobody's matter here.

    Payments don't know orders, so the model comes from Django's registry.
    """
    now = timezone.now()
    amount = card_amount + points_amount
    made = apps.get_model("orders", "Order").objects.create(
        account_id=account_id or AccountFactory.create().id,
        items_amount=amount,
        points_amount=points_amount,
        card_amount=card_amount,
        total_amount=amount,
        currency="KRW",
        placed_at=now,
        expires_at=now + timedelta(minutes=15),
    )
    return made.id


class PaymentFactory(factory.django.DjangoModelFactory[Payment]):
    """A payment of an order of its own; `PaymentFactory(top_up=True)` is for no order.

    With `settled=True` it stands at `status` as one that ended there, without its token.
    """

    class Meta:
        model = Payment

    class Params:
        top_up = factory.Trait(order_id=None)
        settled = factory.Trait(
            settled_at=factory.LazyFunction(timezone.now),
            token="",
            charge_reference=factory.LazyFunction(lambda: f"ch_{uuid4().hex}"),
        )

    id = factory.LazyFunction(uuid7)
    account = factory.SubFactory(AccountFactory)
    card_amount = 500
    currency = "KRW"
    token = "tok_ok"
    order_id = factory.LazyAttribute(
        lambda payment: order(payment.account.id, card_amount=payment.card_amount)
    )
    charge_key = factory.LazyAttribute(lambda payment: f"payment-{payment.id}")
    created_at = factory.LazyFunction(timezone.now)
