"""Orders paid through Stripe, and its webhooks, for the tests at `own_stripe`."""

from typing import Any
from uuid import uuid4

import orjson
import stripe
from django.test import Client
from django.utils import timezone

from inventory.tests.factories import ProductFactory
from orders.placement.decisions import PlacedOrder
from orders.tests import buying
from payments.tests.own_stripe import SECRET

PATH = "/api/v1/webhooks/stripe"


def order(token: str, **wanted) -> PlacedOrder:
    product = ProductFactory(on_hand=5, price=500)
    return buying.place(buying.account(points=100), {product: 2}, token=token, **wanted)


def tried(card="pm_card_visa", *, times=1, **wanted) -> PlacedOrder:
    """An order whose payment was tried so many times."""
    placed = order(card, **wanted)
    for _ in range(times):
        buying.advance(placed)
    return placed


def post_event(type: str, intent: dict[str, Any], *, id=""):
    """Post an event as Stripe would, a new one without an id, and return the response."""
    event = {"id": id or f"evt_{uuid4().hex}", "object": "event", "type": type, "data": {"object": intent}}
    body = orjson.dumps(event | {"created": int(timezone.now().timestamp())})
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET)
    return Client().generic(
        "POST", PATH, body, content_type="application/json", headers={"Stripe-Signature": signature}
    )
