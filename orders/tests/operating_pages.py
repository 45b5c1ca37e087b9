"""Operators and their browsers, for the tests of the admin's pages of orders and payments."""

from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.urls import reverse

from foundation.tests.confirming import said
from foundation.tests.factories import staff_member
from foundation.tests.racing import wait_until
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying

VIEW = ["orders.view_order", "orders.view_refund", "orders.view_saga", "payments.view_payment"]
VIEW += ["payments.view_transfer", "shop.view_journalline"]
ACT = ["orders.add_refund", "orders.change_order", "shop.change_journalline"]


def operator(*permissions: str, name="ada") -> User:
    """Staff with these permissions, besides those to view."""
    return staff_member(*VIEW, *permissions, username=name)


def paid_order(*, units=3, points=0, discount=0) -> Order:
    """A paid order of one product, `TEA`."""
    buyer = buying.account(points=points)
    product = Product.objects.filter(sku="TEA").first() or ProductFactory(
        sku="TEA", name="Tea", on_hand=100, price=500
    )
    coupon = buying.coupon_code(buyer, discount_value=discount) if discount else ""
    placed = buying.place(buyer, {product: units}, points=points, coupon=coupon, token="tok_ok")
    # Where a worker runs, it may have the saga's lease.
    wait_until(lambda: buying.advance(placed).status == "paid", seconds=20)
    return buying.order_now(placed)


def unpaid_order() -> Order:
    product = ProductFactory(on_hand=5, price=500)
    return buying.order_now(buying.place(buying.account(), {product: 2}))


def page_of(order: Order | UUID, action="change") -> str:
    return reverse(f"admin:orders_order_{action}", args=[getattr(order, "id", order)])


def messages_of(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def press(client, page: str, **fields) -> tuple[Any, list[str]]:
    """Send the form of an action, opened before. Returns the response, and the messages or refusals after."""
    opened = client.get(page)
    if opened.status_code != 200:
        return opened, []
    fields = hidden_fields(opened.context["form"]) | {"reason": "The customer asked."} | fields
    sent = client.post(page, fields)
    return sent, said(client, sent)


def hidden_fields(form) -> dict[str, str]:
    """The hidden fields of a form as a browser sends them."""
    return {
        field.html_name: str(field.value()) for field in form.hidden_fields() if field.value() is not None
    }
