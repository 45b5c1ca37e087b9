"""Buying through Stripe over HTTP, with a worker that was started with `PAYMENT_GATEWAY=stripe`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from inventory.tests.factories import ProductFactory
from orders.tests import buying
from orders.tests.conftest import start_worker
from payments import ledger
from payments.gateways import gateway
from payments.tests.stripe_proxy import StripeProxy
from scripts.stack import children
from scripts.tests.simulator import Simulator
from shop.tests.clients import client_of

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("PAYMENT_GATEWAY", "STRIPE_API_KEY", "STRIPE_API_BASE")


@pytest.fixture(autouse=True)
def _stripes_worker(
    transactional_db: None,
    own_stripe: StripeProxy,
    own_gateway: Simulator,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[None]:
    for name in NAMES:
        monkeypatch.setenv(name, getattr(settings, name))
    child = start_worker(tmp_path / "worker.log", own_gateway)
    yield
    children.stop(child)


@pytest.mark.boots("a worker")
@pytest.mark.first_circle
def test_buying_topping_up_and_being_declined() -> None:
    buyer, product = buying.account(), ProductFactory.create(on_hand=5, price=500)
    api = client_of(buyer)

    def buy(token: str) -> Any:
        body = {"items": [{"product": product.id, "quantity": 1}], "payment": {"token": token}}
        return api.post("/orders", body, key=token, Prefer="wait=20")

    paid, declined = buy("pm_card_visa"), buy("pm_card_visa_chargeDeclined")
    topped_up = api.post("/wallet/top-ups", {"amount": 700, "token": "pm_card_visa"}, key="top-up")

    assert (paid.status_code, paid.json()["status"]) == (201, "paid")
    assert (declined.status_code, declined.json()["code"]) == (402, "payment_declined")
    assert (topped_up.status_code, ledger.balance_amount(buyer.id)) == (201, 700)
    assert sorted(booked.kept_amount for booked in gateway().charges()) == [0, 500, 700]
    assert buying.broken_laws() == []
