"""A charge whose outcome was unknown pays its order only if it is the payment's, and all of it is kept."""

from dataclasses import replace

import pytest

from foundation.tests.factories import reloaded
from inventory.tests.factories import ProductFactory
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, hanging
from orders.tests.owners import charge_of, payment_of
from payments.gateways import gateway, simulator
from payments.gateways.contract import GatewayResult
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.tests.own_gateway import SimulatorBut, on_its_page, use

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("impatient", "own_gateway", "unlawful"),
]
AMOUNT = 500


@pytest.fixture
def product():
    return ProductFactory(on_hand=5, price=AMOUNT)


def in_doubt(product) -> PlacedOrder:
    placed = buying.place_for_newcomer(product, token="tok_timeout_charged")
    assert buying.advance(placed).status == "paying"
    return placed


def kept_amount(placed: PlacedOrder) -> int:
    return charge_of(payment_of(placed)).kept_amount


@pytest.mark.parametrize("amount", [AMOUNT, 200, 1])
def test_a_charge_that_was_refunded_while_in_doubt_pays_no_order(product, amount):
    """Support gave it back at the gateway's page, and the look-up then paid the order."""
    placed = in_doubt(product)
    [charge] = gateway().charges(order_id=placed.order.id)
    on_its_page("/refunds", charge=charge.reference, amount=amount)

    order = buying.advance(placed)

    product.refresh_from_db()
    assert (order.status, order.failure_code) == ("payment_failed", "charge_refunded")
    assert payment_of(placed).status == "reversed"
    assert (product.on_hand, product.reserved) == (5, 0)
    assert kept_amount(placed) == 0
    assert reconciling.reconcile(fix=Fix.OURS).findings == []
    assert buying.broken_laws() == []


class OtherAmount(SimulatorBut):
    """Answers look-ups with another amount or currency than was charged."""

    def __init__(self, **changed):
        self.changed = changed

    def find(self, *, key: str) -> GatewayResult:
        return replace(simulator.find(key=key), **self.changed)


@pytest.mark.parametrize(
    "changed", [{"amount": 5, "currency": "USD"}, {"currency": "USD"}, {"amount": AMOUNT + 1}]
)
def test_a_charge_of_another_amount_or_currency_is_stuck_at_once_and_left_to_an_operator(
    product, changed, monkeypatch
):
    placed = in_doubt(product)
    with monkeypatch.context() as patched:
        use(OtherAmount(**changed), patched)
        assert buying.advance(placed).status == "paying"
        saga = buying.saga_of(placed)
        assert (saga.state, saga.direction) == ("stuck", "do")
        assert payment_of(placed).status == "in_doubt"
        hanging.make_overdue(saga)
        assert hanging.advance(saga) == "stuck"
        assert reloaded(saga).direction == "do"
        product.refresh_from_db()
        assert product.reserved == 1
    assert kept_amount(placed) == AMOUNT
    buying.settle_everything()
    assert buying.status_of(placed) == "paid"
