"""A buyer is charged what the page showed, or nothing.

One call with `payment` charged 15,000 where the page showed 10,000: the price had risen before the click.
"""

from typing import Any

import pytest

from coupons.models import Coupon
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from payments.gateways import gateway
from shop.models import IdempotencyKey
from shop.tests.clients import Api, client_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product() -> Product:
    return ProductFactory.create(on_hand=10, price=5_000)


def buy(api: Api, product: Product, key: str = "a key", **more: Any) -> Any:
    body = {"items": [{"product": product.id, "quantity": 2}], "payment": {"token": "tok_ok"}, **more}
    return api.post("/orders", body, key=key, Prefer="wait=0")


@buying.by_two_strategies
def test_an_order_whose_total_rose_before_the_click_is_refused_and_nothing_is_done(
    strategy: str, product: Product
) -> None:
    api = client_of(buying.account())
    Product.objects.filter(id=product.id).update(price=7_500)

    answer = buy(api, product, expected_total_amount=10_000)

    assert (answer.status_code, answer.json()["code"]) == (409, "total_changed")
    assert answer.json()["total_amount"] == 15_000
    assert not Order.objects.exists() and not IdempotencyKey.objects.exists()
    assert list(gateway().charges()) == []
    product.refresh_from_db()
    assert product.reserved == 0
    assert buy(api, product, expected_total_amount=15_000).status_code == 202


def test_the_total_is_that_after_the_discount_and_a_lower_one_is_refused_as_well(product: Product) -> None:
    buyer = buying.account()
    coupon = buying.coupon_of(buyer.id, discount_value=1_000)
    api = client_of(buyer)

    for expected in (10_000, 8_999, 0):
        refused = buy(api, product, coupon=coupon.code, expected_total_amount=expected)
        assert refused.json()["total_amount"] == 9_000
    assert Coupon.objects.get().status == Coupon.Status.ISSUED

    assert buy(api, product, coupon=coupon.code, expected_total_amount=9_000).status_code == 202


@pytest.mark.parametrize("around", [" ", "\t", "\u00a0", "\u200b", "\ufeff", " \u200b\u00a0 "], ids=ascii)
def test_white_space_round_a_coupons_code_is_no_part_of_it(around: str, product: Product) -> None:
    buyer = buying.account()
    coupon = buying.coupon_of(buyer.id, discount_value=1_000)

    answer = buy(client_of(buyer), product, coupon=f"{around}{coupon.code}{around}")

    assert answer.status_code == 202
    assert Order.objects.get().coupon_code == coupon.code


def test_a_code_in_another_case_or_with_space_inside_is_not_found(product: Product) -> None:
    buyer = buying.account()
    code = buying.coupon_of(buyer.id, discount_value=1_000).code
    for wrong in (code.swapcase(), f"{code[:3]} {code[3:]}"):
        answer = buy(client_of(buyer), product, coupon=wrong)
        assert (answer.json()["code"], answer.json()["reason"]) == ("coupon_not_usable", "not_found")
