"""Without Redis and the broker orders still work, in a real web process."""

import pytest

from foundation.tests import live
from foundation.tests.outages import nowhere
from orders.models import Order
from orders.tests import buying
from orders.tests.buying import order_of
from orders.tests.observed_stack import LiveShop
from scripts.stack import ports

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.boots("a web server", in_first_circle=True),
]


def test_orders_are_paid_declined_and_replayed_and_coupons_and_top_ups_given(gateway_process, tmp_path):
    """In a web process whose Redis and broker are unused ports."""
    unreachable = nowhere("redis")
    outside = {"REDIS_URL": unreachable, "BROKER_URL": unreachable}
    outside["GATEWAY_URL"] = f"http://{ports.HOST}:{gateway_process[0].port}"
    product, buyer = buying.product_and_buyer(on_hand=3, price=500, points=1_000)
    coupon = buying.coupon_of(buyer, discount_value=100)
    offered = buying.coupon_of(buying.account(), quantity=2).campaign_id
    body = order_of(product, "tok_ok", quantity=2, coupon=coupon.code, points_amount=200)
    with live.web(tmp_path, **outside) as address:

        def call(path, body, key):
            answer = LiveShop(address).post(buyer, path, body, key=key, Prefer="wait=20")
            return answer.status, answer.json()

        status, order = call("/orders", body, "paid")
        assert (status, order["status"], order["card_amount"]) == (201, "paid", 700)
        assert call("/orders", body, "paid") == (201, order)
        assert Order.objects.count() == 1
        status, problem = call("/orders", order_of(product, "tok_declined"), "declined")
        assert (status, problem["code"]) == (402, "payment_declined")
        assert call("/coupons", {"campaign": offered}, "unused")[0] == 201
        assert call("/wallet/top-ups", {"amount": 5, "token": "tok_ok"}, "top")[0] == 201
