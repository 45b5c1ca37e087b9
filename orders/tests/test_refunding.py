"""Refunds of paid orders: what they return, and what they leave."""

from dataclasses import dataclass

import pytest

from coupons.models import Coupon
from events.models import FeedEvent
from foundation import journal
from foundation.errors import Rejected
from foundation.journal import ActorContext
from foundation.models import JournalLine
from foundation.tests.factories import reloaded
from foundation.tests.instants import ago
from foundation.tests.journal_lines import journal_line
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga
from orders.saga import operator_actions
from orders.tests import buying
from payments import ledger
from payments.gateways import gateway
from payments.models import Payment, Transfer
from payments.tests.own_gateway import change_book, nobody_there

pytestmark = pytest.mark.django_db


@dataclass
class Sale:
    """An order with everything: 2 at 500 and 1 at 300, less 100; 300 by points, 900 by card."""

    order: Order
    first: Product
    second: Product
    coupon: str

    @property
    def points(self) -> int:
        return ledger.balance_amount(self.order.account_id)

    @property
    def coupon_status(self) -> str:
        return Coupon.objects.get(code=self.coupon).status

    @property
    def kept(self) -> int:
        [charge] = gateway().charges(order_id=self.order.id)
        return charge.kept_amount

    @property
    def payment(self) -> Payment:
        return Payment.objects.get(order=self.order)

    @property
    def on_hand(self) -> tuple[int, int]:
        return tuple(reloaded(one).on_hand for one in (self.first, self.second))  # type: ignore[return-value]


@pytest.fixture
def sale():
    buyer = buying.account(points=1_000)
    first = ProductFactory(on_hand=5, price=500)
    second = ProductFactory(on_hand=5, price=300)
    coupon = buying.coupon_code(buyer, discount_value=100)
    placed = buying.place(buyer, {first: 2, second: 1}, coupon=coupon, points=300, token="tok_ok")
    order = buying.advance(placed)
    assert order.status == Order.Status.PAID
    return Sale(order, first, second, coupon)


def parts(refund) -> tuple[int, int, int]:
    return refund.amount, refund.points_amount, refund.card_amount


def test_without_items_everything_is_refunded(sale):
    refund = buying.refunded(sale.order)
    assert (refund.status, parts(refund)) == ("succeeded", (1_200, 300, 900))
    assert (refund.order.status, refund.order.refunded_amount) == ("refunded", 1_200)
    assert refund.order.paid_at == sale.order.paid_at
    assert (sale.points, sale.kept, sale.on_hand) == (1_000, 0, (5, 5))
    assert sale.coupon_status == Coupon.Status.ISSUED
    assert (sale.payment.status, sale.payment.refunding_amount) == ("succeeded", 0)
    assert sale.payment.refunded_amount == 900


def test_returned_goods_are_movements_with_their_reason_of_inactive_products_too(sale):
    Product.objects.update(is_active=False)
    refund = buying.refunded(sale.order, {sale.first: 2}, reason="Too small")
    movement = StockMovement.objects.get(kind=StockMovement.Kind.RETURNED)
    assert (movement.product, movement.order, movement.delta) == (sale.first, sale.order, 2)
    assert (movement.reason, movement.on_hand_after) == ("Too small", 5)
    assert (refund.status, sale.on_hand) == ("succeeded", (5, 4))


@pytest.mark.parametrize("restock", [False, True])
def test_goods_that_are_not_restocked_do_not_return_to_stock_nor_does_an_expired_coupon(sale, restock):
    Coupon.objects.filter(code=sale.coupon).update(expires_at=ago(seconds=1))
    refund = buying.refunded(sale.order, restock=restock)
    assert refund.order.status == Order.Status.REFUNDED
    assert sale.on_hand == ((5, 5) if restock else (3, 4))
    assert StockMovement.objects.filter(kind=StockMovement.Kind.RETURNED).exists() is restock
    assert sale.coupon_status == Coupon.Status.REDEEMED


def test_a_reinstated_coupon_can_be_redeemed_and_reinstated_again(sale):
    for _ in range(2):
        buying.refunded(sale.order)
        again = buying.place(sale.order.account_id, sale.first, coupon=sale.coupon, token="tok_ok")
        sale.order = buying.advance(again)
        assert sale.order.discount_amount == 100
    assert sale.coupon_status == Coupon.Status.REDEEMED


def test_points_alone_need_no_gateway(settings):
    product, buyer = buying.product_and_buyer(on_hand=3, price=100, points=500)
    order = buying.buy(buyer, {product: 3}, points=300, token="")
    with nobody_there(settings):
        refund = buying.refunded(order, {product: 2})
    assert (refund.status, parts(refund)) == ("succeeded", (200, 200, 0))
    assert ledger.balance_amount(buyer.id) == 400


def test_an_order_that_cost_nothing_returns_goods_and_coupon():
    product, buyer = buying.product_and_buyer(on_hand=2, price=100)
    coupon = buying.coupon_code(buyer, discount_value=200)
    order = buying.buy(buyer, {product: 2}, coupon=coupon, token="")
    half = buying.refunded(order, product)
    assert (half.status, parts(half), half.order.status) == ("succeeded", (0, 0, 0), "paid")
    rest = buying.refunded(order)
    assert (rest.status, rest.order.status) == ("succeeded", "refunded")
    assert reloaded(product).on_hand == 2
    assert Coupon.objects.get(code=coupon).status == Coupon.Status.ISSUED
    assert not Transfer.objects.filter(kind=Transfer.Kind.REFUND).exists()


def test_an_order_is_refunding_while_any_refund_is_pending(sale):
    first = buying.refund(sale.order, {sale.first: 2})
    second = buying.refund(sale.order, sale.second)
    later = buying.execute_refund(second)
    assert (later.status, later.order.status) == ("succeeded", "refunding")
    assert later.order.refunded_amount == later.amount
    assert sale.coupon_status == Coupon.Status.REDEEMED
    assert buying.broken_laws() == []
    assert buying.execute_refund(first).order.status == Order.Status.REFUNDED
    assert (sale.points, sale.kept, sale.coupon_status) == (1_000, 0, Coupon.Status.ISSUED)


def test_a_refund_that_the_gateway_refuses_for_good_is_left_to_an_operator_and_never_compensated(
    sale, gateway_process
):
    """The charge is not settled at the gateway, and an operator has it refunded there at last."""

    def set_status(status):
        change_book(gateway_process[1], "UPDATE charges SET status = ?", [status])

    set_status("pending")
    started = buying.refund(sale.order)
    assert buying.execute_refund(started).status == Refund.Status.PENDING
    Saga.objects.filter(id=started.saga_id).update(deadline_at=started.refund.created_at)
    assert buying.execute_refund(started).status == Refund.Status.STUCK
    row = Saga.objects.get(id=started.saga_id)
    assert (row.state, row.direction, row.failure_code) == ("stuck", "do", "")
    assert "refund_exceeds_charge" in row.last_error
    by = {"saga_id": started.saga_id, "by": journal.current_actor()}
    refused = buying.refusal_of(operator_actions.force_compensate, **by, reason="Try it.", kind=Rejected)
    assert refused.code == "saga_not_reversible"
    set_status("succeeded")
    fields = {"charge": sale.payment.charge_reference, "amount": 900}
    assert gateway_process[0].post("/refunds", fields, key="by hand")[0] == 201
    operator_actions.force_complete(**by, reason="Seen there.")
    assert buying.execute_refund(started).status == Refund.Status.SUCCEEDED
    assert buying.status_of(sale) == Order.Status.REFUNDED


def test_the_journal_records_actor_and_reason_and_the_event_is_published(sale):
    with journal.acting(ActorContext(actor=journal.Actor.STAFF, id=7, name="ada", request_id="r-1")):
        started = buying.refund(sale.order, sale.first, reason="Scratched")
    buying.execute_refund(started)
    asked = journal_line("refund.requested")
    assert (asked.actor, asked.actor_name, asked.request_id) == ("staff", "ada", "r-1")
    assert (asked.detail, asked.order_id) == ("Scratched", sale.order.id)
    assert asked.before == {"status": "paid"}
    event = journal_line("order.refunded")
    assert (event.order_id, event.request_id) == (sale.order.id, "r-1")
    assert FeedEvent.objects.get(event_id=event.event_id).type == "order.refunded"
    assert (event.after["status"], event.after["refunded_amount"]) == ("paid", 462)
    assert event.after["refund"] == {
        "id": str(started.refund.id),
        "amount": 462,
        "points_amount": 115,
        "card_amount": 347,
        "reason": "Scratched",
        "restock": True,
        "source": "staff",
        "items": [{"product": sale.first.id, "quantity": 1, "amount": 462}],
    }
    steps = JournalLine.objects.filter(order_id=sale.order.id, subject__startswith="refund").order_by("id")
    assert [line.what for line in steps] == ["refund.requested", "refund_card.done", "settle_refund.done"]
