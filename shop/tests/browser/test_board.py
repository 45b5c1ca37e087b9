"""The launch board as operators watch and use it, while buyers buy."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from sales.models import Sale
from sales.tests.factories import create_sale, join_all
from scripts.stack import ports
from shop.tests import live
from shop.tests.browser import accessibility, buyers
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.faults import Faults
from shop.tests.browser.stack import Stack
from shop.tests.factories import AccountFactory, SuperuserFactory

BOARD = "/admin/board/"
# Notes each text that the figure shows, and when; the page's own variable is gone after a reload.
NOTE_CHANGES = """figure => {
    window.changes = [];
    const note = () => window.changes.push([performance.now(), figure.textContent]);
    new MutationObserver(note).observe(figure, {childList: true, characterData: true, subtree: true});
}"""


@pytest.fixture
def campaign(transactional_db: None) -> Campaign:
    return CampaignFactory.create(name="Spring", quantity=1_000)


@pytest.fixture
def product(transactional_db: None) -> Product:
    return ProductFactory.create(name="Mug", on_hand=1_000)


def card_of(page: Any, row: Campaign | Product | Sale) -> Any:
    return page.get_by_role("article", name=row.name, exact=True)


def left_on(page: Any, row: Campaign | Product | Sale) -> Any:
    return card_of(page, row).locator(".left .big")


@pytest.mark.boots("another process of the shop")
def test_what_is_left_and_the_rate_move_by_themselves_while_buyers_buy(
    open_page: Callable[..., Any], stack: Stack, campaign: Campaign, product: Product
) -> None:
    page = open_page(BOARD, account=SuperuserFactory.create())
    expect(left_on(page, campaign)).to_have_text("1,000")
    plot = card_of(page, campaign).locator("canvas")
    before = plot.evaluate("canvas => canvas.toDataURL()")
    left_on(page, campaign).evaluate(NOTE_CHANGES)

    with buyers.coming_for(stack.address, campaign, product) as statuses:
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
    open_page: Callable[..., Any], stack: Stack, faults: Faults, campaign: Campaign, tmp_path: Any
) -> None:
    # What a browser says of a server that goes away.
    faults.expect("/admin/board/figures/")
    port = ports.free()

    def server() -> Any:
        return live.serving(tmp_path, workers=1, port=port, **stack.settings)

    with server() as served:
        page = open_page(BOARD, account=SuperuserFactory.create(), address=served.address)
        state = page.locator("#live")
        expect(state).to_have_attribute("data-state", "live")
        page.evaluate("window.isSamePage = true")
    expect(state).to_have_attribute("data-state", "lost")
    expect(page.locator("#lost")).to_be_visible()

    with server() as served:
        expect(state).to_have_attribute("data-state", "live")
        expect(page.locator("#lost")).to_be_hidden()
        assert buyers.take_coupon(served.address, AccountFactory.create(), campaign) == 201
        expect(left_on(page, campaign)).to_have_text("999")
        assert page.evaluate("window.isSamePage")
        page.close()


def press(page: Any, row: Campaign | Product | Sale, action: str, *, reason: str = "A wrong price.") -> None:
    """Press a button of the row's card, and confirm it."""
    card_of(page, row).locator(f"[data-action={action}]").click()
    dialog = page.locator("#confirm")
    expect(dialog).to_be_visible()
    dialog.locator("#reason").fill(reason)
    dialog.locator("#submit").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#toast")).to_contain_text(row.name)


def test_the_board_and_its_dialog_have_no_severe_finding_and_fit_a_phone(
    open_page: Callable[..., Any], stack: Stack, campaign: Campaign, product: Product
) -> None:
    buyer = AccountFactory.create()
    assert buyers.take_coupon(stack.address, buyer, campaign) == 201
    assert buyers.order(stack.address, buyer, product) == 201
    page = open_page(BOARD, account=SuperuserFactory.create())
    expect(left_on(page, product)).to_be_visible()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []
    card_of(page, campaign).locator("[data-action=quantity]").click()
    expect(page.locator("#quantity")).to_be_focused()
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []


def test_a_sale_is_paused_for_buyers_too_and_shows_who_waits(
    open_page: Callable[..., Any], stack: Stack, product: Product
) -> None:
    sale = create_sale(product, name="Night", admission="open")
    room = create_sale(name="Room", rate_per_minute=1)
    join_all(room, 3)
    page = open_page(BOARD, account=SuperuserFactory.create())
    press(page, sale, "pause")
    assert buyers.order(stack.address, AccountFactory.create(), product) == 409
    expect(card_of(page, sale).locator(".badge")).to_have_attribute("data-status", "paused")

    press(page, sale, "resume")
    assert buyers.order(stack.address, AccountFactory.create(), product) == 201
    expect(left_on(page, sale)).to_have_text("999")
    # The web process's own thread admits one of the three, and no more within the minute.
    expect(card_of(page, room).locator("dl")).to_contain_text("waiting2admitted1")
