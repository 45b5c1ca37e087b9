"""The demo storefront, walked through in a browser: coupon, purchase, receipt, races and lost answers."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from coupons.tests.factories import CampaignFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from scripts.tests.simulator import Simulator
from shop.tests.browser import accessibility, stack as stacks, storefront
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.faults import Faults
from shop.tests.browser.stack import Stack
from shop.tests.browser.storefront import HOME, SIGN_IN, card_of, open_product, receipt, sign_in
from shop.tests.factories import AccountFactory
from shop.tests.racing import wait_until

PHONE_WIDTH = 375
# At the same instant in every page: the clicks of one thread would come one after the other.
CLICK_AT = "at => { setTimeout(() => document.getElementById('buy').click(), at - Date.now()); }"
STORED = "Object.keys(sessionStorage).sort()"


def test_two_browsers_race_for_the_last_piece_and_a_third_sees_it_sold_out(
    open_page: Callable[..., Any], faults: Faults, own_gateway: Simulator
) -> None:
    faults.expect(r"^409: POST .*/orders$")
    last = ProductFactory.create(name="Lamp", on_hand=1)
    watcher = open_page(HOME)
    expect(card_of(watcher, last)).to_have_attribute("data-availability", "available")
    pages = [open_page(HOME) for _ in range(2)]
    for number, page in enumerate(pages):
        sign_in(page, storefront.buyer(f"racer-{number}"))
        open_product(page, last)

    at = max(page.evaluate("Date.now()") for page in pages) + 1_000
    for page in pages:
        page.evaluate(CLICK_AT, at)

    expect(watcher.locator("#announced")).to_have_text("Lamp is sold out.")
    expect(card_of(watcher, last)).to_have_attribute("data-availability", "sold_out")
    wait_until(lambda: sum(page.locator(".receipt").count() for page in pages) == 1)
    [winner] = [page for page in pages if page.locator(".receipt").count()]
    [loser] = [page for page in pages if page is not winner]
    expect(receipt(winner)).to_be_visible()
    expect(loser.locator(".card.over")).to_be_visible()
    expect(loser.locator("#buy")).to_have_count(0)
    assert list(Order.objects.values_list("status", flat=True)) == ["paid"]
    assert len(own_gateway.get("/charges")[1]["results"]) == 1


@pytest.mark.parametrize("keys_are_kept", [True, False])
def test_an_answer_that_is_lost_on_its_way_leads_to_one_order_only_because_the_key_is_kept(
    open_page: Callable[..., Any], faults: Faults, mina: User, mug: Product, keys_are_kept: bool
) -> None:
    faults.expect(r"^failed: POST .*/orders net::ERR_CONNECTION_RESET$")
    page = open_page(HOME)
    sign_in(page, mina)
    button = open_product(page, mug)
    keys = storefront.keep_first_answer_back(page, and_break=True)
    if not keys_are_kept:
        storefront.change_keys(page)

    button.click()

    expect(receipt(page)).to_be_visible()
    assert len(keys) == 2
    assert (Order.objects.count(), len(set(keys))) == ((1, 1) if keys_are_kept else (2, 2))


def test_a_reload_while_buying_goes_on_with_the_same_key(
    open_page: Callable[..., Any], mina: User, mug: Product
) -> None:
    page = open_page(HOME)
    sign_in(page, mina)
    button = open_product(page, mug)
    keys = storefront.keep_first_answer_back(page)
    button.click()
    wait_until(lambda: Order.objects.count() == 1)
    assert page.evaluate(STORED) == [f"demo.purchase.{mina.pk}", "demo.tokens"]

    page.reload()

    expect(receipt(page)).to_be_visible()
    assert len(keys) == 2 and len(set(keys)) == 1
    assert (Order.objects.count(), page.evaluate(STORED)) == (1, ["demo.tokens"])


def test_a_purchase_without_an_answer_waits_for_its_own_account(
    open_page: Callable[..., Any], faults: Faults, mina: User, mug: Product
) -> None:
    faults.expect(r"^failed: POST .*/orders ")
    page = open_page(HOME)
    sign_in(page, mina)
    button = open_product(page, mug)
    page.route(storefront.ORDERS, lambda route: route.abort("connectionreset"))
    button.click()
    expect(page.locator("#unanswered")).to_be_visible()
    expect(button).to_be_disabled()
    page.locator("#sign-out").click()
    page.unroute(storefront.ORDERS)

    sign_in(page, storefront.buyer("jun"))
    open_product(page, mug)
    assert not Order.objects.exists()
    page.locator("#sign-out").click()
    sign_in(page, mina)

    expect(receipt(page)).to_be_visible()
    assert [order.account_id for order in Order.objects.all()] == [mina.pk]


def test_the_last_coupon_goes_to_one_and_a_queue_shows_its_place(
    open_page: Callable[..., Any], stack: Stack, faults: Faults, mina: User
) -> None:
    faults.expect(r"^409: POST .*/coupons$")
    one = CampaignFactory.create(name="One", quantity=1)
    queued = CampaignFactory.create(name="Queued", strategy="queue")
    page = open_page(HOME)
    sign_in(page, mina)
    claim = page.locator(f"[data-campaign='{one.pk}'] button")
    expect(claim).to_be_enabled()
    assert (
        stacks.call(stack.address, AccountFactory.create(), "POST", "/coupons", {"campaign": one.pk}).status
        == 201
    )

    claim.click()

    expect(page.locator(f"[data-campaign='{one.pk}'] .badge.over").first).to_have_text("sold out")
    page.locator(f"[data-campaign='{queued.pk}'] button").click()
    expect(page.locator(f"[data-campaign='{queued.pk}'] [role=status]")).to_have_text(
        "In the queue: 0 ahead of you."
    )
    call_command("run_issuer", "--once")
    expect(page.locator(f"[data-campaign='{queued.pk}'] .own")).to_be_visible()


def test_a_token_that_has_expired_is_refreshed_and_a_sign_in_that_has_ended_is_said(
    open_page: Callable[..., Any], faults: Faults, mina: User, mug: Product
) -> None:
    faults.expect("^401: ")
    spoil = """names => {
        const tokens = JSON.parse(sessionStorage.getItem("demo.tokens"));
        for (const name of names) tokens[name] = "spoilt";
        sessionStorage.setItem("demo.tokens", JSON.stringify(tokens));
    }"""
    page = open_page(HOME)
    sign_in(page, mina)
    button = open_product(page, mug)
    page.evaluate(spoil, ["access"])
    button.click()
    expect(receipt(page)).to_be_visible()

    button = open_product(page, mug)
    page.evaluate(spoil, ["access", "refresh"])
    button.click()
    expect(page.locator(".note.bad")).to_contain_text("The sign-in has ended")
    assert Order.objects.count() == 1
    sign_in(page, mina)
    expect(receipt(page)).to_be_visible()
    assert Order.objects.count() == 2


def test_a_page_that_is_not_seen_asks_for_nothing(open_page: Callable[..., Any], mug: Product) -> None:
    show = """isHidden => {
        Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page = open_page()
    page.clock.install()
    readings: list[str] = []
    page.on("request", lambda request: readings.append(request.url))
    page.goto(HOME)
    expect(card_of(page, mug)).to_be_visible()
    page.evaluate(show, True)
    page.clock.run_for(10_000)
    before = len(readings)

    page.clock.run_for(60_000)
    assert len(readings) == before
    page.evaluate(show, False)
    wait_until(lambda: len(readings) > before)


def test_every_page_has_no_severe_finding_and_fits_a_phone(
    open_page: Callable[..., Any], mina: User, mug: Product
) -> None:
    CampaignFactory.create(name="Spring")
    ProductFactory.create(name="Lamp with a very long name, made for narrow places", on_hand=0)
    page = open_page(HOME)

    def check() -> None:
        page.set_viewport_size({"width": 1280, "height": 900})
        assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
        page.set_viewport_size({"width": PHONE_WIDTH, "height": 812})
        assert page.evaluate(accessibility.OVERFLOW) == []

    expect(card_of(page, mug)).to_be_visible()
    check()
    page.goto(SIGN_IN)
    check()
    sign_in(page, mina)
    button = open_product(page, mug)
    check()
    button.click()
    expect(page.locator("[data-event='transmit.done']")).to_be_visible()
    check()
