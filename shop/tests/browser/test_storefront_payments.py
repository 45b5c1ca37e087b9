"""Payments that need the customer, in a browser: the gateway's page, the way back, and another card."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User

from inventory.models import Product
from orders import tasks
from orders.models import Order, Saga
from payments.models import Payment
from shop import clock
from shop.operations import dispatch
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.faults import Faults
from shop.tests.browser.storefront import HOME, open_product, receipt, sign_in

PHONE_WIDTH = 375


def buy(page: Any, account: User, product: Product, card: str) -> None:
    page.goto(HOME)
    sign_in(page, account)
    button = open_product(page, product)
    page.locator(f"[value={card}]").check()
    button.click()


def deliver_webhook() -> None:
    """What the gateway's webhook does: the saga is due at once, and a worker takes it up."""
    saga = Saga.objects.get(ended_at__isnull=True)
    Saga.objects.filter(id=saga.id).update(next_attempt_at=clock.now())
    dispatch.enqueue(tasks.advance)


def test_a_buyer_confirms_the_payment_on_the_gateway_s_page_and_is_led_back_to_the_receipt(
    open_page: Callable[..., Any], mina: User, mug: Product
) -> None:
    page = open_page(width=PHONE_WIDTH)
    buy(page, mina, mug, "tok_3ds")
    link = page.locator("#confirm")
    expect(link).to_be_visible()
    expect(receipt(page, "paying").locator("#to-confirm .countdown")).to_be_visible()
    assert accessibility.findings(page) == []
    link.click()

    expect(page.locator("h1")).to_have_text("Confirm your payment")
    expect(page.locator(".amount")).to_have_text("12,000 KRW")
    assert accessibility.findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("h1")).to_have_text("The payment is confirmed.")
    page.reload()
    expect(page.locator("button")).to_have_count(0)
    deliver_webhook()
    page.get_by_role("link", name="Back to the shop").click()

    expect(receipt(page)).to_be_visible()
    expect(page.locator("#confirm")).to_have_count(0)
    assert [order.status for order in Order.objects.all()] == ["paid"]


def test_a_buyer_whose_card_is_refused_pays_with_another_one(
    open_page: Callable[..., Any], faults: Faults, mina: User, mug: Product
) -> None:
    faults.expect(r"^402: POST .*/orders$")
    page = open_page()
    buy(page, mina, mug, "tok_declined")
    form = page.locator("#another-card")
    expect(form).to_contain_text("The card was refused.")
    assert accessibility.findings(page) == []

    page.locator("#second-card").select_option("tok_3ds")
    page.locator("#pay-again").dblclick()
    page.locator("#confirm").click()
    page.get_by_role("button", name="Refuse").click()
    expect(page.locator("h1")).to_have_text("The payment is refused.")
    deliver_webhook()
    page.get_by_role("link", name="Back to the shop").click()

    expect(form).to_be_visible()
    page.locator("#second-card").select_option("tok_ok")
    page.locator("#pay-again").click()
    expect(receipt(page)).to_be_visible()
    payments = Payment.objects.order_by("number").values_list("number", "status")
    assert list(payments) == [(1, "failed"), (2, "failed"), (3, "succeeded")]
