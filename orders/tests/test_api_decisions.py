"""What the API answers about orders and money where the contract leaves it open."""

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import call_command

from accounts.tests.clients import client_of, faults, problem_of
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import Replay
from foundation.models import IdempotencyKey
from foundation.tests.factories import set_columns, staff_member
from foundation.tests.instants import ago
from inventory.availability import Line
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import schemas
from orders.models import Order, Refund
from orders.payment import refunding
from orders.payment.refunding import StartedRefund
from orders.placement import checkout
from orders.placement.decisions import PlacedOrder
from orders.tests import buying
from orders.tests.buying import order_of
from payments.models import Payment

pytestmark = pytest.mark.django_db(transaction=True)
BROKEN = {"reason": "It came broken."}


@pytest.fixture
def product():
    return ProductFactory(on_hand=9, price=333)


def paid(buyer, quantities: dict[Product, int], **wanted) -> str:
    """The path of the refunds of a paid order."""
    order = buying.buy(buyer, quantities, **wanted)
    return f"/orders/{order.id}/refunds"


def amounts(refund) -> tuple[int, int, int]:
    return refund["amount"], refund["points_amount"], refund["card_amount"]


def available(product) -> int:
    found: int = client_of().read(f"/products/{product.id}")["available"]
    return found


def test_units_are_refunded_at_their_price_less_their_share_of_the_discount_and_the_last_one_the_rest(
    buyer, staff, product
):
    """Three at 333 less 100 are 899: 200 by points, 699 by card."""
    coupon = buying.coupon_code(buyer, discount_value=100)
    path = paid(buyer, {product: 3}, coupon=coupon, points=200)

    one, another, last = (staff.post(path, BROKEN | order_of(product), key=key).json() for key in "abc")

    # The shares of 100 are 33, 33 and 34; points are 200/899 of each amount, and at last what is left.
    assert [amounts(one), amounts(another), amounts(last)] == [(300, 66, 234), (300, 66, 234), (299, 68, 231)]
    buying.settle_everything()
    order = staff.read(path.removesuffix("/refunds"))
    assert (order["status"], order["refunded_amount"]) == ("refunded", 899)


def test_a_refund_of_a_product_that_is_not_in_the_order_is_409_and_names_it_with_nothing_refundable(
    buyer, staff, product
):
    other, path = Product(id=2**63 - 1), paid(buyer, {product: 1})
    asked = order_of(product, quantity=2**31 - 1)["items"] + order_of(other)["items"]

    answer = staff.post(path, BROKEN | {"items": asked}, key="a")

    assert problem_of(answer) == (409, "refund_exceeds_order")
    assert answer.json()["items"] == [
        {"product": product.id, "requested": 2**31 - 1, "refundable": 1},
        {"product": other.id, "requested": 1, "refundable": 0},
    ]
    assert not Refund.objects.exists()
    assert Order.objects.get().status == "paid"
    assert staff.post(path, BROKEN, key="a").status_code == 202


@pytest.mark.parametrize("status", ["awaiting_payment", "paying", "payment_failed", "cancelled", "expired"])
def test_a_refund_of_an_order_that_is_not_paid_is_409_and_says_what_it_is(
    status, buyer, staff, api, product, settings
):
    settings.ORDER_HOLD_SECONDS = 0 if status == "expired" else settings.ORDER_HOLD_SECONDS
    token = {"paying": "tok_ok", "payment_failed": "tok_declined"}.get(status)
    placed = buying.place(buyer, product, token=token)
    if status == "payment_failed":
        buying.advance(placed)
    if status == "cancelled":
        api.post(f"/orders/{placed.order.id}/cancel")

    answer = staff.post(f"/orders/{placed.order.id}/refunds", BROKEN, key="a")

    assert problem_of(answer) == (409, "nothing_to_refund")
    assert answer.json()["detail"] == f"The order is not paid: it is {status}."
    assert not Refund.objects.exists()


def test_while_a_refund_is_pending_another_may_take_what_the_first_leaves(buyer, staff, product):
    path = paid(buyer, {product: 3})
    assert staff.post(path, BROKEN | order_of(product, quantity=2), key="a").status_code == 202
    assert staff.read(path.removesuffix("/refunds"))["status"] == "refunding"

    too_many = staff.post(path, BROKEN | order_of(product, quantity=2), key="b")
    one = staff.post(path, BROKEN | order_of(product), key="b")
    all_that_is_left = staff.post(path, BROKEN, key="c")

    assert problem_of(too_many) == (409, "refund_exceeds_order")
    assert too_many.json()["items"] == [{"product": product.id, "requested": 2, "refundable": 1}]
    assert (one.status_code, one.json()["amount"]) == (202, 333)
    assert problem_of(all_that_is_left) == (409, "nothing_to_refund")
    buying.settle_everything()
    assert staff.read(path.removesuffix("/refunds"))["status"] == "refunded"


@pytest.mark.parametrize("points", [{}, {"points_amount": 300}], ids=["none", "too few"])
def test_an_empty_payment_whose_points_do_not_cover_the_order_is_400_and_asks_for_a_card(
    points, api, product
):
    answer = api.post("/orders", order_of(product) | points | {"payment": {}}, key="a")

    assert faults(answer) == [("payment.token", "required")]
    assert not Order.objects.exists()
    assert available(product) == 9
    assert api.post("/orders", order_of(product), key="a").status_code == 201


def test_an_empty_payment_whose_points_the_wallet_does_not_hold_is_409(api, product):
    body = order_of(product, quantity=4) | {"points_amount": 4 * 333, "payment": {}}

    assert problem_of(api.post("/orders", body, key="a")) == (409, "insufficient_points")
    assert not Order.objects.exists()
    assert available(product) == 9


def test_staff_who_pay_another_accounts_order_get_404_and_the_owner_can_still_pay_it(
    buyer, api, staff, product
):
    order_id = str(buying.order(buyer, product).id)
    body = {"order": order_id, "token": "tok_ok"}
    assert staff.get(f"/orders/{order_id}").status_code == 200

    assert problem_of(staff.post("/payments", body, key="a")) == (404, "not_found")

    assert api.read(f"/orders/{order_id}")["status"] == "awaiting_payment"
    assert not Payment.objects.exists()
    assert api.post("/payments", body, key="a").status_code == 202


def ask(buyer: User, product) -> PlacedOrder | Replay:
    """The same call each time."""
    return checkout.place(buying.order_request(buyer, product, token="tok_ok", key="same"))


def grow_old(settings: LazySettings, *, payments_too=False):
    age = timedelta(seconds=settings.IDEMPOTENCY_RETENTION_SECONDS + 1)
    for key in IdempotencyKey.objects.all():
        set_columns(key, created_at=key.created_at - age)
    for payment in Payment.objects.filter(settled_at__isnull=False) if payments_too else ():
        set_columns(payment, settled_at=payment.settled_at - age)


def test_a_payment_that_is_open_for_longer_than_a_day_keeps_its_key_and_no_second_order_is_placed(
    product, settings
):
    buyer = buying.account()
    placed = ask(buyer, product)
    assert isinstance(placed, PlacedOrder)
    grow_old(settings)
    assert recorded_answers.delete_expired_keys() == 0
    again = ask(buyer, product)
    assert isinstance(again, Replay)
    assert again.reference == placed.order.id

    buying.advance(placed)
    # It settled a moment ago: the answer is still to be asked for.
    assert recorded_answers.delete_expired_keys() == 0
    assert isinstance(ask(buyer, product), Replay)
    assert Order.objects.count() == 1


def test_a_refund_that_is_pending_for_longer_than_a_day_keeps_its_key_and_is_not_started_twice(
    product, settings
):
    order = buying.advance(buying.place_for_newcomer(product, 2, token="tok_ok"))
    staff = staff_member()
    keyed = buying.keyed(staff, schemas.refund_answer)

    def refund():
        of = {"order_id": order.pk, "wanted": [Line(product_id=product.pk, quantity=1)], "keyed": keyed}
        return refunding.start_refund(**of, reason="broken", restock=True)

    started = refund()
    assert isinstance(started, StartedRefund)
    grow_old(settings)
    recorded_answers.delete_expired_keys()
    assert isinstance(refund(), Replay)
    buying.execute_refund(started)
    grow_old(settings)
    Refund.objects.update(settled_at=ago(days=2))
    recorded_answers.delete_expired_keys()
    assert isinstance(refund(), StartedRefund)
    call_command("rebuild_product_days")


def test_a_key_is_deleted_a_day_after_its_payment_has_settled(product, settings):
    buyer = buying.account()
    placed = ask(buyer, product)
    assert isinstance(placed, PlacedOrder)
    buying.advance(placed)
    grow_old(settings, payments_too=True)
    assert isinstance(ask(buyer, product), PlacedOrder)
    assert recorded_answers.delete_expired_keys() == 0
    grow_old(settings)
    Payment.objects.filter(settled_at__isnull=True).delete()
    assert recorded_answers.delete_expired_keys() == 1
