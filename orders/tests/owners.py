"""For tests of payments that need the customer: orders by a card that asks its owner, and the owner."""

from uuid import UUID

import urllib3

from foundation import clock
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago
from inventory.tests.factories import ProductFactory
from orders.models import Saga
from orders.placement.decisions import PlacedOrder
from orders.tests import buying
from payments.gateways import gateway
from payments.gateways.contract import GatewayResult
from payments.models import Payment

ASKING = "tok_3ds"
BROWSER = urllib3.PoolManager(retries=False, timeout=10)


def order(token: str = ASKING, *, points=0, coupon="", **more) -> PlacedOrder:
    """A new order of one piece for 500, of an account with 1,000 points more than it uses."""
    product = ProductFactory(on_hand=5, price=500)
    buyer = more.pop("buyer", None) or buying.account(points=1_000 + points)
    return buying.place(buyer, product, token=token, points=points, coupon=coupon, **more)


def payment_of(placed: PlacedOrder) -> Payment:
    """The order's newest payment."""
    return Payment.objects.filter(order=placed.order.id).latest("number")


def saga_of(payment) -> Saga:
    return Saga.objects.get(subject_id=payment.id)


def charge_of(payment) -> GatewayResult:
    """The payment's charge in the gateway's own book."""
    return gateway().find(key=payment.charge_key)


def kept_amount(placed: PlacedOrder) -> int:
    """What the gateway keeps of the order's charges."""
    return sum(charge.kept_amount for charge in gateway().charges(order_id=placed.order.id))


def time_is_over(placed: PlacedOrder):
    """Let the deadline of its saga pass."""
    set_columns(placed.started.saga, deadline_at=clock.now())


def waiting(**wanted) -> PlacedOrder:
    """An order whose payment waits for the card's owner."""
    placed = order(**wanted)
    assert buying.advance(placed).status == "paying"
    assert payment_of(placed).shown_status == "requires_action"
    return placed


def page_of(payment) -> str:
    """The address of the owner's page, from the gateway's own book."""
    return charge_of(payment).action_url


def decide(payment, decision: str) -> int:
    """Have the card's owner press a button of the page; returns the status of the response."""
    return decide_at(payment.action_url, decision)


def decide_at(url: str, decision: str) -> int:
    fields = {"decision": decision}
    return BROWSER.request("POST", url, fields=fields, encode_multipart=False, redirect=False).status


def let_action_end(payment_id: UUID):
    """Let the time of the owner be over: their saga is due."""
    over = ago(seconds=1)
    Payment.objects.filter(id=payment_id).update(action_expires_at=over)
    Saga.objects.filter(subject_id=payment_id).update(next_attempt_at=over)
