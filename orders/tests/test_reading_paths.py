"""How many modules the three hot paths enter, so that following one stays short (ADR 031)."""

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coupons.tests.factories import CampaignFactory
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.tests import stepping
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory
from shop.tests.reading_path import ReadingPath, following

WATCHING = re.compile(r"shop/observability/.*|.*/(metrics|observation|measured)\.py|.*/metrics/.*")
"""What counts, logs and traces: it decides nothing, and a reader passes over its calls."""
APPS = ("orders", "inventory", "payments", "coupons", "sales")
pytestmark = pytest.mark.django_db


def check_length(
    path: ReadingPath, *, modules: int, back: int, apps: Collection[str] = ("shop", *APPS)
) -> None:
    """At most so many modules of these apps are entered, with so many jumps back between them."""
    entered = {name for name in path.modules if name.split("/")[0] in apps and not WATCHING.fullmatch(name)}
    assert len(entered) <= modules
    assert len([edge for edge in path.back if {*edge} <= entered]) <= back


def test_issuing_a_coupon() -> None:
    campaign, api = CampaignFactory.create(), client_of(AccountFactory.create())
    client_of(AccountFactory.create()).post("/coupons", {"campaign": campaign.pk})
    api.get("/campaigns")  # a client's first request loads the middlewares
    with following() as path:
        assert api.post("/coupons", {"campaign": campaign.pk}).status_code == 201
    check_length(path, modules=10, back=0, apps=("coupons",))
    check_length(path, modules=30, back=2)


def order_call() -> tuple[Api, dict[str, Any]]:
    """An account's client, and the body of an order that it pays by card."""
    product = ProductFactory.create(on_hand=10)
    body = {"items": [{"product": product.pk, "quantity": 1}], "payment": {"token": "tok_ok"}}
    return client_of(AccountFactory.create()), body


def test_a_paid_order() -> None:
    api, body = order_call()
    with following() as path:
        placed = api.post("/orders", body, key="first")
        assert placed.status_code == 202, placed.json()
        stepping.advance(Saga.objects.get().id)
    assert Order.objects.get().status == "paid"
    check_length(path, modules=34, back=3, apps=APPS)
    check_length(path, modules=69, back=13)


def test_recovering_a_saga() -> None:
    api, body = order_call()
    api.post("/orders", body, key="first")
    past = timezone.now() - timedelta(minutes=1)
    Saga.objects.update(next_attempt_at=past, leased_until=past, lease_token="lost")
    with following() as path:
        stepping.Delegate().wake()
    check_length(path, modules=10, back=1, apps=("orders",))
    check_length(path, modules=35, back=6)
