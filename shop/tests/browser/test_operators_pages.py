"""The operators' pages in a browser: readable for everyone, by keys alone, and the board while buyers buy."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User

from accounts.tests.one_time_codes import code_for, code_of, secret_of_text, with_codes
from backoffice.tests.rows_of_every_model import fill_all_models
from coupons.models import Campaign, Coupon, PoolCode
from coupons.tests.factories import CampaignFactory, accounts
from foundation.tests import admin_addresses, live
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory, reloaded
from foundation.tests.racing import wait_until
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.tests import operating_pages
from orders.tests.buying import order_of
from orders.tests.operating_pages import page_of
from sales.models import Sale
from sales.tests.factories import create_sale, join_all
from scripts.stack import ports
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import PATIENCE_SECONDS, expect
from shop.tests.browser.stack import HTTP, Stack, call, session_of, superuser_with_password

BOARD = "/admin/board/"
# Notes each text that the figure shows, and when; the page's own variable is gone after a reload.
NOTE_CHANGES = """figure => {
    window.changes = [];
    const note = () => window.changes.push([performance.now(), figure.textContent]);
    new MutationObserver(note).observe(figure, {childList: true, characterData: true, subtree: true});
}"""


@pytest.fixture
def campaign(transactional_db):
    return CampaignFactory(name="Spring", quantity=1_000)


@pytest.fixture
def product(transactional_db):
    return ProductFactory(name="Mug", on_hand=1_000)


def card_of(page, row: Campaign | Product | Sale):
    return page.get_by_role("article", name=row.name, exact=True)


def left_on(page, row: Campaign | Product | Sale):
    return card_of(page, row).locator(".left .big")


@pytest.mark.boots("another process of the shop")
def test_what_is_left_and_the_rate_move_by_themselves_while_buyers_buy(open_page, stack, campaign, product):
    page = open_page(BOARD, account=SuperuserFactory())
    expect(left_on(page, campaign)).to_have_text("1,000")
    plot = card_of(page, campaign).locator("canvas")
    before = plot.evaluate("canvas => canvas.toDataURL()")
    left_on(page, campaign).evaluate(NOTE_CHANGES)

    with buyers_coming_for(stack.address, campaign, product) as statuses:
        page.wait_for_function("window.changes.length >= 4")
        expect(card_of(page, campaign).locator("dl.figures dd").first).to_have_text(
            re.compile(r"^[1-9][\d.]*/s|0\.\d+/s")
        )
        expect(left_on(page, product)).not_to_have_text("1,000")

    changes = page.evaluate("window.changes")
    assert set(statuses) == {201}
    expect(left_on(page, campaign)).to_have_text(str(1_000 - Coupon.objects.count()))
    lefts = [int(text.replace(",", "")) for _, text in changes]
    assert lefts == sorted(set(lefts), reverse=True)
    gaps = sorted(after - at for (at, _), (after, _) in pairwise(changes))
    assert gaps[len(gaps) // 2] < 3_000
    assert plot.evaluate("canvas => canvas.toDataURL()") != before


def test_the_board_connects_again_after_the_web_server_was_restarted(
    open_page, stack, faults, campaign, tmp_path
):
    # What a browser says of a server that goes away.
    faults.expect("/admin/board/figures/")
    port = ports.free()

    def server():
        return live.serving(tmp_path, workers=1, port=port, **stack.settings)

    with server() as served:
        page = open_page(BOARD, account=SuperuserFactory(), address=served.address)
        state = page.locator("#live")
        expect(state).to_have_attribute("data-state", "live")
        page.evaluate("window.isSamePage = true")
    expect(state).to_have_attribute("data-state", "lost")
    expect(page.locator("#lost")).to_be_visible()

    with server() as served:
        expect(state).to_have_attribute("data-state", "live")
        expect(page.locator("#lost")).to_be_hidden()
        assert take_coupon(served.address, AccountFactory(), campaign) == 201
        expect(left_on(page, campaign)).to_have_text("999")
        assert page.evaluate("window.isSamePage")
        page.close()


def test_a_card_of_a_campaign_for_everybody_shows_what_is_issued(open_page, stack, campaign):
    Campaign.objects.update(quantity=None)
    assert take_coupon(stack.address, AccountFactory(), campaign) == 201
    page = open_page(BOARD, account=SuperuserFactory())
    card = card_of(page, campaign)

    expect(card.locator(".left")).to_have_text("1 issued, for everybody")
    expect(card.locator(".meter")).to_be_hidden()
    expect(card.locator("[data-action=quantity]")).to_be_hidden()
    Campaign.objects.update(quantity=9)
    expect(card.locator(".left")).to_have_text("8 of 9 left")
    expect(card.locator(".plot")).to_be_visible()
    expect(card.locator("[data-action=quantity]")).to_be_visible()


def press(page, row: Campaign | Product | Sale, action: str):
    """Press a button of the row's card, which acts at once."""
    before = reloaded(row).paused_at
    card_of(page, row).locator(f"[data-action={action}]").click()
    expect(page.locator("#toast")).to_contain_text(row.name)
    wait_until(lambda: reloaded(row).paused_at != before, seconds=PATIENCE_SECONDS)


def test_the_board_and_its_dialog_have_no_severe_finding_and_fit_a_phone(open_page, stack, campaign, product):
    buyer = AccountFactory()
    assert take_coupon(stack.address, buyer, campaign) == 201
    assert order_one(stack.address, buyer, product) == 201
    page = open_page(BOARD, account=SuperuserFactory())
    expect(left_on(page, product)).to_be_visible()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    card_of(page, campaign).locator("[data-action=quantity]").click()
    expect(page.locator("#quantity")).to_be_focused()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []


def test_a_sale_is_paused_for_buyers_too_and_shows_who_waits(open_page, stack, product):
    sale = create_sale(product, name="Night", admission="open")
    room = create_sale(name="Room", rate_per_minute=1)
    join_all(room, 3)
    page = open_page(BOARD, account=SuperuserFactory())
    press(page, sale, "pause")
    assert order_one(stack.address, AccountFactory(), product) == 409
    expect(card_of(page, sale).locator(".badge")).to_have_attribute("data-status", "paused")

    press(page, sale, "resume")
    assert order_one(stack.address, AccountFactory(), product) == 201
    expect(left_on(page, sale)).to_have_text("999")
    # The web process's own thread admits one of the three, and no more within the minute.
    expect(card_of(page, room).locator("dl")).to_contain_text("waiting2admitted1")


THREADS = 2


@contextmanager
def buyers_coming_for(address: str, campaign: Campaign, product: Product) -> Iterator[list[int]]:
    """400 accounts take a coupon and order one unit each, one after the other, until the block ends.

    Gives the list of their answers' statuses, which grows.
    """
    waiting = list(User.objects.filter(pk__in=accounts(400)))
    statuses, is_over = list[int](), threading.Event()

    def buy():
        while waiting and not is_over.wait(0.1):
            buyer = waiting.pop()
            statuses.append(take_coupon(address, buyer, campaign))
            statuses.append(order_one(address, buyer, product))

    with ThreadPoolExecutor(THREADS) as threads:
        buying = [threads.submit(buy) for _ in range(THREADS)]
        try:
            yield statuses
        finally:
            is_over.set()
    assert [each.result() for each in buying] == [None] * THREADS


def take_coupon(address: str, buyer: User, campaign: Campaign) -> int:
    return call(address, buyer, "POST", "/coupons", {"campaign": campaign.pk}).status


def order_one(address: str, buyer: User, product: Product) -> int:
    """The status of the answer to an order of one unit, which is not paid."""
    items = order_of(product)
    return call(address, buyer, "POST", "/orders", items, **{"Idempotency-Key": str(uuid4())}).status


MOST_STEPS = 120
# Whether the element with the focus, or what is around it, looks otherwise than without the focus.
IS_SEEN = """() => {
    const LOOKS = ["outlineStyle", "outlineWidth", "boxShadow", "borderColor", "backgroundColor",
        "textDecorationLine"];
    const element = document.activeElement;
    const around = [element, element.parentElement, element.parentElement.parentElement];
    const looks = () => around.map(one => LOOKS.map(name => getComputedStyle(one)[name]).join()).join();
    const withFocus = looks();
    element.blur();
    const without = looks();
    element.focus();
    return withFocus !== without;
}"""


def tab_to(page, element):
    """Press Tab until the element has the focus, which has to be seen there."""
    for _ in range(MOST_STEPS):
        page.keyboard.press("Tab")
        if element.evaluate("element => element === document.activeElement"):
            assert page.evaluate(IS_SEEN), (
                f"the focus is not seen on {element.evaluate('one => one.outerHTML')}"
            )
            return
    raise AssertionError(f"{MOST_STEPS} steps by Tab don't reach it")


def test_an_order_is_found_and_cancelled_by_keys_alone(open_page, stack):
    olga, order = with_codes(superuser_with_password("olga")), operating_pages.unpaid_order()
    page = open_page("/admin/login/?next=/admin/orders/order/")
    username = page.locator("#id_username")
    if not username.evaluate("element => element === document.activeElement"):
        tab_to(page, username)
    page.keyboard.type(olga.username)
    tab_to(page, page.locator("#id_password"))
    page.keyboard.type(PASSWORD)
    tab_to(page, page.locator("#id_otp"))
    page.keyboard.type(code_for(olga))
    page.keyboard.press("Enter")
    expect(page.locator("#changelist")).to_be_visible()

    tab_to(page, page.locator(f"#result_list a[href^='{page_of(order)}']").first)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(page_of(order)))
    cancel = page.locator(f"a[href='{page_of(order, 'cancel')}']")
    tab_to(page, cancel)
    page.keyboard.press("Enter")
    tab_to(page, page.locator("[name=reason]"))
    page.keyboard.type("The customer asked.")
    tab_to(page, page.get_by_role("button", name="Cancel the order"))
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile(page_of(order)))
    expect(cancel).to_have_count(0)
    assert reloaded(order).status == "cancelled"


def test_the_first_key_leads_past_the_menu_and_after_a_pause_the_next_to_undo(open_page, stack, campaign):
    page = open_page(f"/admin/coupons/campaign/{campaign.pk}/change/", account=SuperuserFactory())
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('content').contains(document.activeElement)")

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Undo")).to_be_focused()


def test_filters_and_the_menu_of_a_phone_are_opened_by_keys(open_page, stack):
    page = open_page("/admin/orders/order/", account=SuperuserFactory(), width=390)
    shown = page.locator("#changelist-filter")
    expect(shown).to_be_hidden()
    tab_to(page, page.get_by_role("button", name="Filters"))
    page.keyboard.press("Enter")
    expect(shown).to_be_visible()
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    page.get_by_role("heading", level=1).click()
    tab_to(page, page.get_by_role("button", name="Menu").first)
    page.keyboard.press("Space")
    expect(page.get_by_role("link", name="Campaigns", exact=True).first).to_be_visible()


def choose(page, *codes: str):
    text = "\n".join(["code", *codes, ""])
    file = {"name": "codes.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Continue").click()


def test_a_file_with_a_bad_row_is_shown_and_adds_nothing(open_page):
    campaign = CampaignFactory(code_source="pool")
    path = f"/admin/coupons/campaign/{campaign.pk}/upload_codes/"
    page = open_page(path, account=SuperuserFactory())
    page.locator("#id_reason").fill("The printer's file.")
    choose(page, "SPRING-1", "=1+1", "SPRING-2")
    expect(page.get_by_text("Line 3")).to_be_visible()
    assert accessibility.findings(page) == []

    choose(page, "SPRING-1", "SPRING-2")
    expect(page.get_by_text("SPRING-1, SPRING-2")).to_be_visible()
    assert accessibility.findings(page) == []
    assert not PoolCode.objects.exists()
    page.get_by_role("button", name="Add codes", exact=True).click()
    expect(page.get_by_text("Added: 2. Skipped: 0. In all: 2.")).to_be_visible()
    assert set(PoolCode.objects.values_list("code", flat=True)) == {"SPRING-1", "SPRING-2"}


HITS = "#sidebar-search-hits"


def test_a_late_answer_for_an_earlier_term_is_not_shown(open_page, stack, browser_thread):
    for name in ("marie.curie", "marie.noether"):
        AccountFactory(username=name)
    page, held = open_page("/admin/", account=SuperuserFactory()), list[Any]()
    # Kept on its way until the answer for the later term is shown.
    page.route(re.compile(r"/search/hits/\?q=marie\.c$"), lambda route: held.append(route))
    page.keyboard.press("Control+k")
    page.keyboard.type("marie.c")
    wait_until(lambda: page.evaluate("true") and len(held) == 1, seconds=PATIENCE_SECONDS)
    page.keyboard.press("Backspace")
    page.keyboard.type("n")
    options = page.locator(f"{HITS} [role=option]")
    expect(options).to_have_text([re.compile("marie.noether"), "Show all"])

    browser_thread.call(held[0].continue_)
    page.evaluate("fetch('/admin/search/hits/?q=marie').then(answer => answer.json())")

    expect(options).to_have_text([re.compile("marie.noether"), "Show all"])
    page.keyboard.press("Escape")
    expect(page.locator(HITS)).to_be_hidden()
    expect(page.locator("#sidebar-search")).to_be_focused()


APPS = ["coupons", "events", "inventory", "(auth|otp_totp)", "shop", "orders", "payments"]


def findings(open_page: Callable[..., Any], stack: Stack, *, under: str, but="$^") -> dict[str, list[str]]:
    """What is wrong with each page whose address begins with `under`, and not with `but`."""
    fill_all_models()
    operator = SuperuserFactory(username="olga")
    page, session = open_page(account=operator), session_of(operator)
    paths = [address.path for address in admin_addresses.addresses()]
    wanted = [path for path in paths if re.match(under, path) and not re.match(but, path)]
    found = {}
    # The next ones are requested while the browser examines one.
    with ThreadPoolExecutor(1) as requests:
        answers = requests.map(lambda path: _is_page(stack.address + path, session), wanted)
        for path in (path for path, is_page in zip(wanted, answers, strict=True) if is_page):
            page.set_viewport_size({"width": 1366, "height": 900})
            page.goto(path)
            found[path] = accessibility.findings_in_both_themes_and_on_a_phone(page, opens_again=True)
            assert page.url == stack.address + path
    assert found, f"no page lies under {under}"
    return {path: wrong for path, wrong in found.items() if wrong}


def _is_page(url, session):
    """Whether a whole page answers: no file, part of a page, or button."""
    headers = {"Cookie": f"sessionid={session}", "Accept": "text/html"}
    answer = HTTP.request("GET", url, headers=headers, redirect=False, preload_content=False)
    try:
        # Only then read: a stream has no end.
        is_html = answer.status == 200 and answer.headers["Content-Type"].startswith("text/html")
        return is_html and re.match(rb"\s*<!doctype html", answer.data, re.IGNORECASE) is not None
    finally:
        answer.close()


@pytest.mark.parametrize("under", [f"/admin/{app}/" for app in APPS])
def test_a_page_has_no_severe_finding_and_fits_a_phone(open_page, stack, under):
    assert findings(open_page, stack, under=under) == {}


def test_nor_have_the_front_page_the_board_the_reports_the_pages_of_single_things_and_the_welcome_page(
    open_page, stack
):
    assert findings(open_page, stack, under="/admin/", but=f"/admin/({'|'.join(APPS)})/") == {}
    assert accessibility.findings_in_both_themes_and_on_a_phone(open_page("/")) == []


def test_nor_have_the_page_to_sign_in_and_those_that_set_codes_up(open_page, stack):
    olga = superuser_with_password("olga")
    page = open_page("/admin/login/")
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    page.locator("#id_username").fill(olga.username)
    page.locator("#id_password").fill(PASSWORD)
    with page.expect_navigation():
        page.locator("#login-form [type=submit]").click()
    expect(page.locator("#otp-form")).to_be_visible()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    page.locator("#id_otp").fill(code_of(secret_of_text(page.locator("ol code").inner_text())))
    page.locator("#otp-form [type=submit]").click()
    expect(page.locator("#backup-codes")).to_be_visible()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
