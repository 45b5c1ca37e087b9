"""Refunds in races on the real database, with an audit after each, and a naive version that loses."""

import threading
from functools import partial

import pytest
from django.db.models import Sum

from coupons.models import Coupon
from foundation.idempotency.recorded_answers import Replay
from foundation.tests.factories import staff_member
from foundation.tests.racing import race
from inventory.availability import Line
from inventory.tests.factories import ProductFactory
from orders import schemas
from orders.models import Order, Refund, RefundLine, Saga
from orders.payment import refunding
from orders.payment.refunding import StartedRefund
from orders.tests import buying, stepping
from orders.tests.buying import kinds
from payments import ledger
from payments.gateways import gateway

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product():
    return ProductFactory(on_hand=7, price=100)


@pytest.fixture
def order(product):
    """Seven of a product, by points and card, with a coupon: 650, of which 200 are points."""
    buyer = buying.account(points=200)
    coupon = buying.coupon_code(buyer, discount_value=50)
    return buying.buy(buyer, {product: 7}, coupon=coupon, points=200)


def promised(order) -> int:
    return Refund.objects.filter(order=order).aggregate(total=Sum("amount"))["total"] or 0


def assert_all_given_back(order, product):
    order.refresh_from_db()
    product.refresh_from_db()
    assert (order.status, order.refunded_amount) == (Order.Status.REFUNDED, 650)
    assert product.on_hand == 7
    assert ledger.balance_amount(order.account_id) == 200
    assert [charge.kept_amount for charge in gateway().charges(order_id=order.id)] == [0]
    assert Coupon.objects.get(code=order.coupon_code).status == Coupon.Status.ISSUED


@pytest.mark.parametrize("units", [7, 1])
def test_of_20_concurrent_refunds_of_all_one_succeeds_and_of_one_unit_of_seven_seven(order, product, units):
    outcomes = race([partial(buying.refund, order, None if units == 7 else {product: units})] * 20)
    assert kinds(outcomes) == {"StartedRefund": 7 // units, "nothing_to_refund": 20 - 7 // units}
    assert promised(order) == 650
    assert buying.broken_laws() == []
    buying.settle_everything()
    assert_all_given_back(order, product)


def test_concurrent_refunds_of_three_units_leave_the_rest_below_three(order, product):
    outcomes = race([partial(buying.refund, order, {product: 3})] * 10)
    assert kinds(outcomes) == {"StartedRefund": 2, "refund_exceeds_order": 8}
    buying.settle_everything()
    assert buying.state_of(order) == Order.Status.PAID
    assert buying.broken_laws() == []
    buying.refunded(order)
    assert_all_given_back(order, product)


def test_refunds_that_settle_concurrently_have_one_outcome(order, product):
    """Three executors per saga; the last refund to settle finds that nothing is left."""
    started = [buying.refund(order, product) for _ in range(7)]
    race([partial(stepping.advance, one.saga_id) for one in started for _ in range(3)])
    buying.settle_everything()
    assert Refund.objects.filter(status=Refund.Status.SUCCEEDED).count() == 7
    assert_all_given_back(order, product)


def test_refunds_that_start_while_others_settle_have_one_outcome(order, product):
    for _ in range(6):
        started = buying.refund(order, product)
        settled, other = race(
            [partial(stepping.advance, started.saga_id), partial(buying.refund, order, product)]
        )
        assert settled == Saga.State.DONE
        is_taken = isinstance(other, StartedRefund)
        assert is_taken or other.code == "nothing_to_refund"
        assert buying.state_of(order) == (Order.Status.REFUNDING if is_taken else Order.Status.REFUNDED)
        buying.settle_everything()
        if buying.state_of(order) == Order.Status.REFUNDED:
            break
    assert_all_given_back(order, product)


@pytest.mark.parametrize(("count", "ends"), [(1, "paid"), (7, "refunded")])
def test_20_calls_with_one_key_are_one_refund(count, ends, order, product):
    """Of one unit, of which there are enough; and of all seven, where the second finds nothing left."""
    staff = staff_member()
    keyed = buying.keyed(staff, schemas.refund_answer)

    of = {"order_id": order.id, "wanted": [Line(product_id=product.id, quantity=count)], "keyed": keyed}
    refund = partial(refunding.start_refund, **of, reason="It came broken.", restock=True)
    outcomes = race([refund] * 20)
    assert kinds(outcomes) == {"StartedRefund": 1, "Replay": 19}
    bodies = {one.answer.body for one in outcomes if isinstance(one, Replay) and one.answer}
    assert len(bodies) == 1
    assert Refund.objects.count() == 1
    buying.settle_everything()
    assert buying.state_of(order) == ends


def test_reading_what_is_left_without_the_lock_refunds_twice_what_was_paid(order, product, unlawful):
    """The naive version: both read seven left, and both refund them. Only the order's lock is missing."""
    both_looked = threading.Barrier(2, timeout=10)
    amount = order.total_amount
    by_card = {"amount": amount, "points_amount": 0, "card_amount": amount}

    def refund():
        [line] = order.lines.all()
        both_looked.wait()
        left = line.quantity - line.refunded_quantity
        refund = Refund.objects.create(order=order, reason="twice", created_at=order.placed_at, **by_card)
        RefundLine.objects.create(refund=refund, line=line, quantity=left, amount=amount)
        line.refunded_quantity += left
        line.save(update_fields=["refunded_quantity"])
        return refund.id

    assert len(set(race([refund] * 2))) == 2
    assert promised(order) == 2 * amount
    assert "L9" in {report.law for report in buying.broken_laws()}
