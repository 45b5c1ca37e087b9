"""Rows for tests: wallets whose points were granted, as in production, payments, and orders to pay."""

from uuid import UUID, uuid4

import factory
from django.db import transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from foundation.tests.factories import AccountFactory, OrderFactory
from payments import ledger
from payments.models import Payment


def wallet(points=0) -> int:
    """The id of a new account whose wallet holds this many points."""
    user_id: int = AccountFactory().id
    with transaction.atomic():
        ledger.bulk_open_wallets([user_id], points)
    return user_id


def order(account_id: int | None = None, *, card_amount=0, points_amount=0) -> UUID:
    """The id of a new order with these amounts; its lines don't matter here."""
    owner = {"account": None, "account_id": account_id} if account_id else {}
    made = OrderFactory(card_amount=card_amount, points_amount=points_amount, **owner)
    id: UUID = made.pk
    return id


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
