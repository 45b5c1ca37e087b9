"""Sales on the demo storefront: a place in the waiting room, admission, and what ends it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from sales.models import Sale
from sales.tests import factories
from shop.tests.browser import accessibility, stack as stacks
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.faults import Faults
from shop.tests.browser.stack import Stack
from shop.tests.browser.storefront import HOME, card_of, open_product, receipt, sign_in
from shop.tests.factories import AccountFactory

COUNTDOWN = re.compile(r"^\d+:\d\d$")


@pytest.fixture
def lamp(transactional_db: None) -> Product:
    return ProductFactory.create(name="Lamp", price=48_000, on_hand=1)


def room_of(page: Any, sale: Sale, status: str = "") -> Any:
    state = f"[data-status={status}]" if status else ""
    return page.locator(f"[data-sale='{sale.pk}'] .room{state}")


def take_place(page: Any, sale: Sale) -> None:
    room_of(page, sale).locator("button").click()


def test_a_place_taken_before_the_opening_is_admitted_at_it_and_buys(
    open_page: Callable[..., Any], mina: User, lamp: Product
) -> None:
    sale = factories.create_sale(lamp, opens_in=6)
    page = open_page(HOME)
    sign_in(page, mina)
    expect(card_of(page, lamp).get_by_role("link")).to_have_count(0)
    take_place(page, sale)
    expect(room_of(page, sale, "waiting").locator(".countdown").first).to_have_text(COUNTDOWN)
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []

    page.reload()
    expect(room_of(page, sale, "waiting")).to_be_visible()
    expect(room_of(page, sale, "admitted").locator(".countdown")).to_have_text(COUNTDOWN)
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []

    card_of(page, lamp).get_by_role("link").click()
    page.locator("#buy").click()
    expect(receipt(page)).to_be_visible()
    page.goto(HOME)
    expect(room_of(page, sale, "used")).to_be_visible()
    expect(card_of(page, lamp)).to_have_attribute("data-availability", "sold_out")
    assert Order.objects.get().account_id == mina.pk


def test_a_waiting_buyer_reads_how_many_are_ahead_and_that_the_last_piece_is_gone(
    open_page: Callable[..., Any], stack: Stack, mina: User, lamp: Product
) -> None:
    sale = factories.create_sale(lamp, rate_per_minute=1)
    first = AccountFactory.create()
    factories.join(sale, first.pk)
    factories.join(sale)
    page = open_page(HOME)
    sign_in(page, mina)
    page.goto(f"/demo/#/buy/{lamp.pk}")
    page.locator(".room button").click()
    expect(page.locator(".room[data-status=waiting] .big")).to_have_text("1 ahead of you")
    expect(page.locator("#buy")).to_have_count(0)

    body = {"items": [{"product": lamp.pk, "quantity": 1}], "payment": {"token": "tok_ok"}}
    key = {"Idempotency-Key": "the-last-lamp", "Prefer": "wait=20"}
    assert stacks.call(stack.address, first, "POST", "/orders", body, **key).status == 201

    expect(page.locator(".card.over")).to_have_text("Sold out: the last piece is gone.")
    page.goto(HOME)
    expect(room_of(page, sale, "over")).to_be_visible()
    expect(room_of(page, sale).locator("button")).to_have_count(0)


def test_an_admission_that_lapses_is_said_and_a_new_place_is_taken(
    open_page: Callable[..., Any], faults: Faults, mina: User, lamp: Product
) -> None:
    sale = factories.create_sale(lamp, admitted_for_seconds=2)
    page = open_page(HOME)
    sign_in(page, mina)
    take_place(page, sale)
    expect(room_of(page, sale, "admitted")).to_be_visible()
    expect(room_of(page, sale, "expired")).to_be_visible()
    Sale.objects.update(admitted_for_seconds=300)

    take_place(page, sale)

    expect(room_of(page, sale, "admitted")).to_be_visible()
    open_product(page, lamp).click()
    expect(receipt(page)).to_be_visible()
