"""The demo storefront in a browser: purchases, lost answers, payments that need the customer, and sales."""

import re

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.operations import dispatch
from foundation.tests.factories import AccountFactory, set_columns
from foundation.tests.racing import wait_until
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import tasks
from orders.models import Order, Saga
from orders.tests.buying import order_of
from payments.models import Payment
from sales.models import Sale
from sales.tests import factories
from shop.tests.browser import accessibility, stack as stacks, storefront
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.storefront import HOME, SIGN_IN, card_of, open_product, receipt, sign_in

PHONE_WIDTH = 375
# At the same instant in every page: the clicks of one thread would come one after the other.
CLICK_AT = "at => { setTimeout(() => document.getElementById('buy').click(), at - Date.now()); }"
STORED = "Object.keys(sessionStorage).sort()"


def test_two_browsers_race_for_the_last_piece_and_a_third_sees_it_sold_out(open_page, faults, own_gateway):
    faults.expect(r"^409: POST .*/orders$")
    last = ProductFactory(name="Lamp", on_hand=1)
    watcher = open_page(HOME)
    expect(card_of(watcher, last)).to_have_attribute("data-availability", "available")
    pages = [open_page(HOME) for _ in range(2)]
    for number, page in enumerate(pages):
        open_product(page, last, storefront.buyer(f"racer-{number}"))

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
    open_page, faults, mina, mug, keys_are_kept
):
    faults.expect(r"^failed: POST .*/orders net::ERR_CONNECTION_RESET$")
    page = open_page(HOME)
    button = open_product(page, mug, mina)
    keys = storefront.keep_first_answer_back(page, and_break=True)
    if not keys_are_kept:
        storefront.change_keys(page)

    button.click()

    expect(receipt(page)).to_be_visible()
    assert len(keys) == 2
    assert (Order.objects.count(), len(set(keys))) == ((1, 1) if keys_are_kept else (2, 2))


def test_a_reload_while_buying_goes_on_with_the_same_key(open_page, mina, mug):
    page = open_page(HOME)
    button = open_product(page, mug, mina)
    keys = storefront.keep_first_answer_back(page)
    button.click()
    wait_until(lambda: Order.objects.count() == 1)
    assert page.evaluate(STORED) == [f"demo.purchase.{mina.pk}", "demo.tokens"]

    page.reload()

    expect(receipt(page)).to_be_visible()
    assert len(keys) == 2 and len(set(keys)) == 1
    assert (Order.objects.count(), page.evaluate(STORED)) == (1, ["demo.tokens"])


def test_a_purchase_without_an_answer_waits_for_its_own_account(open_page, faults, mina, mug):
    faults.expect(r"^failed: POST .*/orders ")
    page = open_page(HOME)
    button = open_product(page, mug, mina)
    page.route(storefront.ORDERS, lambda route: route.abort("connectionreset"))
    button.click()
    expect(page.locator("#unanswered")).to_be_visible()
    expect(button).to_be_disabled()
    page.locator("#sign-out").click()
    page.unroute(storefront.ORDERS)

    open_product(page, mug, storefront.buyer("jun"))
    assert not Order.objects.exists()
    page.locator("#sign-out").click()
    sign_in(page, mina)

    expect(receipt(page)).to_be_visible()
    assert [order.account_id for order in Order.objects.all()] == [mina.pk]


def test_the_last_coupon_goes_to_one_and_a_queue_shows_its_place(open_page, stack, faults, mina):
    faults.expect(r"^409: POST .*/coupons$")
    one = CampaignFactory(name="One", quantity=1)
    queued = CampaignFactory(name="Queued", strategy="queue")
    page = open_page(HOME)
    sign_in(page, mina)
    claim = page.locator(f"[data-campaign='{one.pk}'] button")
    expect(claim).to_be_enabled()
    rival = AccountFactory()
    assert stacks.call(stack.address, rival, "POST", "/coupons", {"campaign": one.pk}).status == 201

    claim.click()

    expect(page.locator(f"[data-campaign='{one.pk}'] .badge.over").first).to_have_text("sold out")
    card = page.locator(f"[data-campaign='{queued.pk}']")
    card.locator("button").click()
    expect(card.locator("[role=status]")).to_have_text("In the queue: 0 ahead of you.")
    call_command("run_issuer", "--once")
    expect(card.locator(".own")).to_be_visible()


def test_a_campaign_for_everybody_gives_one_to_each_account(open_page, mina):
    campaign = CampaignFactory(name="All", quantity=None)
    page = open_page(HOME)
    sign_in(page, mina)
    card = page.locator(f"[data-campaign='{campaign.pk}']")
    expect(card.locator(".left")).to_have_text("one for everybody")

    card.locator("button").click()

    expect(card.locator(".own")).to_be_visible()


def test_a_token_that_has_expired_is_refreshed_and_a_sign_in_that_has_ended_is_said(
    open_page, faults, mina, mug
):
    faults.expect("^401: ")
    spoil = """names => {
        const tokens = JSON.parse(sessionStorage.getItem("demo.tokens"));
        for (const name of names) tokens[name] = "spoilt";
        sessionStorage.setItem("demo.tokens", JSON.stringify(tokens));
    }"""
    page = open_page(HOME)
    button = open_product(page, mug, mina)
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


def test_a_page_that_is_not_seen_asks_for_nothing(open_page, mug):
    show = """isHidden => {
        Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page = open_page()
    page.clock.install()
    readings = []
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


def test_every_page_has_no_severe_finding_and_fits_a_phone(open_page, mina, mug):
    CampaignFactory(name="Spring")
    ProductFactory(name="Lamp with a very long name, made for narrow places", on_hand=0)
    page = open_page(HOME)

    def check():
        page.set_viewport_size({"width": 1280, "height": 900})
        assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
        page.set_viewport_size({"width": PHONE_WIDTH, "height": 812})
        assert page.evaluate(accessibility.OVERFLOW) == []

    expect(card_of(page, mug)).to_be_visible()
    check()
    page.goto(SIGN_IN)
    check()
    button = open_product(page, mug, mina)
    check()
    button.click()
    expect(page.locator("[data-event='transmit.done']")).to_be_visible()
    check()


def buy(page, account: User, product: Product, card: str):
    page.goto(HOME)
    button = open_product(page, product, account)
    page.locator(f"[value={card}]").check()
    button.click()


def deliver_webhook():
    """What the gateway's webhook does: the saga is due at once, and a worker takes it up."""
    saga = Saga.objects.get(ended_at__isnull=True)
    set_columns(saga, next_attempt_at=clock.now())
    dispatch.enqueue(tasks.advance)


def test_a_buyer_confirms_the_payment_on_the_gateway_s_page_and_is_led_back_to_the_receipt(
    open_page, mina, mug
):
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


def test_a_buyer_whose_card_is_refused_pays_with_another_one(open_page, faults, mina, mug):
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


COUNTDOWN = re.compile(r"^\d+:\d\d$")


@pytest.fixture
def lamp(transactional_db):
    return ProductFactory(name="Lamp", price=48_000, on_hand=1)


def room_of(page, sale: Sale, status=""):
    state = f"[data-status={status}]" if status else ""
    return page.locator(f"[data-sale='{sale.pk}'] .room{state}")


def test_a_place_taken_before_the_opening_is_admitted_at_it_and_buys(open_page, mina, lamp):
    sale = factories.create_sale(lamp, opens_in=6)
    page = open_page(HOME)
    sign_in(page, mina)
    expect(card_of(page, lamp).get_by_role("link")).to_have_count(0)
    room_of(page, sale).locator("button").click()
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
    open_page, stack, mina, lamp
):
    sale = factories.create_sale(lamp, rate_per_minute=1)
    first = AccountFactory()
    factories.join(sale, first)
    factories.join(sale)
    page = open_page(HOME)
    sign_in(page, mina)
    page.goto(f"/demo/#/buy/{lamp.pk}")
    page.locator(".room button").click()
    expect(page.locator(".room[data-status=waiting] .big")).to_have_text("1 ahead of you")
    expect(page.locator("#buy")).to_have_count(0)

    body = order_of(lamp, "tok_ok")
    key = {"Idempotency-Key": "the-last-lamp", "Prefer": "wait=20"}
    assert stacks.call(stack.address, first, "POST", "/orders", body, **key).status == 201

    expect(page.locator(".card.over")).to_have_text("Sold out: the last piece is gone.")
    page.goto(HOME)
    expect(room_of(page, sale, "over")).to_be_visible()
    expect(room_of(page, sale).locator("button")).to_have_count(0)


def test_an_admission_that_lapses_is_said_and_a_new_place_is_taken(open_page, faults, mina, lamp):
    sale = factories.create_sale(lamp, admitted_for_seconds=2)
    page = open_page(HOME)
    sign_in(page, mina)
    room_of(page, sale).locator("button").click()
    expect(room_of(page, sale, "admitted")).to_be_visible()
    expect(room_of(page, sale, "expired")).to_be_visible()
    Sale.objects.update(admitted_for_seconds=300)

    room_of(page, sale).locator("button").click()

    expect(room_of(page, sale, "admitted")).to_be_visible()
    open_product(page, lamp).click()
    expect(receipt(page)).to_be_visible()
