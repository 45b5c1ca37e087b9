"""Tasks of those who open campaigns and sales, each from /admin/: by few clicks, and each action by keys."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from coupons.models import Campaign, PoolCode
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.models import JournalLine
from foundation.tests import live
from foundation.tests.factories import SuperuserFactory, reloaded
from foundation.tests.racing import wait_until
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from sales.models import Sale
from sales.tests.factories import create_sale
from shop.tests.browser.accessibility import PHONE
from shop.tests.browser.browser_thread import PATIENCE_SECONDS, expect

MAKES: dict[str, tuple[str, Callable[[], Any]]] = {
    "Campaigns": ("coupons/campaign", lambda: CampaignFactory(name="Spring", quantity=60)),
    "Sale events": (
        "sales/sale",
        lambda: create_sale(ProductFactory(on_hand=60), name="Spring", admission="open"),
    ),
    "Products": ("inventory/product", lambda: ProductFactory(name="Spring", on_hand=60)),
}


class Clicks:
    """Presses of the mouse, counted."""

    def __init__(self):
        self.count = 0

    def __call__(self, target):
        self.count += 1
        target.click()


@pytest.fixture
def clicks():
    return Clicks()


def menu(page, name: str):
    return page.locator("#nav-sidebar").get_by_role("link", name=re.compile(rf"{name}$"))


@pytest.mark.parametrize("kind", MAKES)
def test_one_press_pauses_and_the_bar_undoes_it_or_takes_the_reason(open_page, stack, clicks, kind):
    path, make = MAKES[kind]
    row = make()
    olga = SuperuserFactory(username="olga")
    page = open_page("/admin/", account=olga)
    menu(page, kind).click()
    page.locator("#result_list").get_by_role("link", name="Spring").click()

    clicks(page.get_by_role("button", name="Pause"))

    bar = page.locator(".fc-paused")
    expect(bar).to_contain_text(re.compile(r"Paused \d\d:\d\d:\d\d\s+· 60 left\s+Undo\s+Why\?"))
    assert (clicks.count, reloaded(row).paused_at is not None) == (1, True)
    bar.get_by_role("link", name="Why?").click()
    page.locator("[name=reason]").fill("A wrong price.")
    page.get_by_role("button", name="Add the reason").click()
    clicks(page.locator(".fc-paused").get_by_role("button", name="Undo"))
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert reloaded(row).paused_at is None
    if kind == "Products":
        page.get_by_role("link", name="Edit").click()
    page.locator(f"a[href$='/{path}/{row.pk}/history/']").first.click()
    expect(page.locator(".fc-table")).to_contain_text("A wrong price.")
    assert set(JournalLine.objects.filter(what__contains="pause").values_list("actor_name", flat=True)) == {
        "olga"
    }


def test_one_press_on_a_card_of_the_board_pauses_on_a_phone_too(open_page, stack, clicks):
    campaign = CampaignFactory(name="Spring", quantity=60)
    page = open_page("/admin/board/", account=SuperuserFactory(), width=PHONE["width"])
    card = page.get_by_role("article", name="Spring", exact=True)

    clicks(card.locator("[data-action=pause]"))

    expect(card.locator(".paused")).to_contain_text("Paused ")
    assert (clicks.count, reloaded(campaign).paused_at is not None) == (1, True)
    card.locator("[data-action=explain]").click()
    page.locator("#reason").fill("A wrong price.")
    page.locator("#submit").click()
    expect(page.locator("#toast")).to_contain_text("history of Spring")
    card.locator("[data-action=resume]").click()
    wait_until(lambda: reloaded(campaign).paused_at is None, seconds=PATIENCE_SECONDS)


def test_a_campaign_by_a_template_takes_four_clicks(open_page, stack, clicks):
    page = open_page("/admin/", account=SuperuserFactory())
    clicks(menu(page, "Campaigns"))
    clicks(page.locator("a[href$='/campaign/add/']").first)
    clicks(page.get_by_role("link", name=re.compile("Percent off")))
    page.get_by_label("Name").fill("Welcome")

    clicks(page.get_by_role("button", name="Save", exact=True))

    tomorrow = clock.local(clock.day_bounds(clock.today())[1])
    expect(page.locator(".fc-checks")).to_contain_text(f"Opens {tomorrow:%Y-%m-%d} 10:00")
    assert (clicks.count, Campaign.objects.get().name) == (4, "Welcome")


def test_a_refused_form_names_what_is_missing_and_focuses_it(open_page, stack):
    CampaignFactory(name="Spring", quantity=60)
    page = open_page("/admin/", account=SuperuserFactory())
    menu(page, "Campaigns").click()
    page.locator("#result_list").get_by_role("link", name="Spring").click()
    page.locator("#id_quantity").fill("90")

    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("link", name="Reason is missing.")).to_be_visible()
    expect(page.locator("#id_reason")).to_be_focused()
    expect(page.locator(".fc-head")).to_contain_text("60 left")


def test_a_year_takes_four_digits_and_the_page_of_the_dates_names_zones(open_page, stack):
    opens_at = clock.now().replace(hour=3, minute=0, second=0, microsecond=0) + timedelta(days=2)
    CampaignFactory(name="Spring", opens_at=opens_at, closes_at=None)
    page = open_page("/admin/", account=SuperuserFactory())
    menu(page, "Campaigns").click()
    page.locator("#result_list").get_by_role("link", name="Spring").click()
    page.get_by_role("link", name="Change dates").click()
    field = page.locator("#id_opens_at")
    field.focus()
    field.press_sequentially("120220991000AM")

    expect(field).to_have_value("2099-12-02T10:00")
    expect(page.locator("#id_opens_at_elsewhere")).to_contain_text("2099-12-02 10:00 UTC")
    expect(page.get_by_role("button", name="Next full hour").first).to_be_visible()


def test_a_pool_with_its_codes_takes_five_clicks(open_page, stack, clicks):
    page = open_page("/admin/", account=SuperuserFactory())
    clicks(menu(page, "Campaigns"))
    clicks(page.get_by_role("link", name="Codes of a partner"))
    page.get_by_label("Name").fill("Partner")
    page.get_by_label("Quantity").fill("2")
    clicks(page.get_by_role("button", name="Save", exact=True))
    file = {
        "name": "codes.csv",
        "mimeType": "text/csv",
        "buffer": "쿠폰번호,비고\nMUG-0001,\nMUG-0002,1차\n".encode("cp949"),
    }
    page.locator("[type=file]").set_input_files(file)
    page.locator("[name=reason]").fill("From the partner.")

    clicks(page.get_by_role("button", name="Continue"))
    clicks(page.locator("[name=confirmed]"))

    expect(page.locator(".fc-checks")).to_contain_text("Codes in the pool: 2 of 2")
    assert (clicks.count, PoolCode.objects.count()) == (5, 2)


def test_a_file_as_people_have_it_is_imported_by_three_clicks(open_page, stack, clicks):
    page = open_page("/admin/", account=SuperuserFactory())
    clicks(menu(page, "Products"))
    clicks(page.get_by_role("link", name="Import products and stock"))
    text = '상품코드,상품명,판매가,수량,비고\nMUG-1,머그,₩9000,"12,000",new\n'
    file = {"name": "stock.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("[type=file]").set_input_files(file)
    page.locator("[name=reason]").fill("A delivery.")
    clicks(page.get_by_role("button", name="Continue"))
    expect(page.locator("#main")).to_contain_text("Units added to the stock:")
    expect(page.locator("#main")).to_contain_text("These columns were ignored: 비고.")

    page.keyboard.press("Enter")

    expect(page.locator("#result_list")).to_contain_text("머그")
    product = Product.objects.get(sku="MUG-1")
    assert (clicks.count, product.name, product.price, product.on_hand) == (3, "머그", 9_000, 12_000)


def test_a_quantity_is_raised_by_two_clicks(open_page, stack, clicks):
    campaign = CampaignFactory(name="Spring", quantity=60)
    page = open_page("/admin/", account=SuperuserFactory())
    clicks(menu(page, "Launch board"))
    clicks(page.get_by_role("article", name="Spring", exact=True).locator("[data-action=quantity]"))
    page.locator("#reason").fill("More than we thought.")
    page.locator("#quantity").fill("90")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Spring")
    assert (clicks.count, reloaded(campaign).quantity) == (2, 90)


@pytest.mark.parametrize("kind", ["Campaigns", "Sale events"])
def test_the_home_page_and_a_list_pause_what_runs_by_one_press(open_page, stack, clicks, kind):
    row = MAKES[kind][1]()
    page = open_page("/admin/", account=SuperuserFactory())

    clicks(page.get_by_role("button", name="Pause Spring"))

    expect(page.locator(".fc-paused")).to_contain_text("60 left")
    assert (clicks.count, reloaded(row).paused_at is not None) == (1, True)
    menu(page, kind).click()
    page.get_by_role("button", name="Resume Spring").click()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()
    assert reloaded(row).paused_at is None


def test_a_sale_of_tomorrow_at_ten_in_seoul_takes_four_clicks(open_page, stack, clicks, tmp_path, settings):
    product = ProductFactory(name="Mug", on_hand=60)
    settings.SHOP_TIME_ZONE = "Asia/Seoul"
    with live.serving(tmp_path, workers=1, **stack.settings, TIME_ZONE="Asia/Seoul") as seoul:
        olga = SuperuserFactory()
        page = open_page("/admin/", account=olga, address=seoul.address, timezone_id="America/New_York")
        clicks(menu(page, "Sale events"))
        clicks(page.locator("a[href$='/sale/add/']").first)
        clicks(page.get_by_role("link", name=re.compile("Open to all")))
        page.get_by_label("Name").fill("Tomorrow")
        page.locator(".select2-search__field").press_sequentially("Mug")
        expect(page.locator(".select2-results__option--highlighted")).to_contain_text("Mug")
        page.keyboard.press("Enter")
        elsewhere = page.locator("#id_opens_at_elsewhere")
        expect(elsewhere).to_contain_text(
            re.compile(r"10:00 Asia/Seoul · \S+ 01:00 UTC · .* \(this browser\)")
        )
        # It opens at ten o'clock of the shop, whatever the browser's clock.
        tomorrow_at_ten = clock.day_bounds(clock.today())[1] + timedelta(hours=10)

        clicks(page.get_by_role("button", name="Save", exact=True))

        expect(page.locator(".fc-checks")).to_contain_text("10:00 Asia/Seoul")
        sale = Sale.objects.get()
        assert (clicks.count, sale.opens_at) == (4, tomorrow_at_ten)
        assert list(Product.objects.filter(sale_products__sale=sale)) == [product]


# Everything that can be pressed in the page's own part, but what a closed fold hides.
ACTIONS = """() => [...document.querySelectorAll("#content-main :is(a[href], button), #submit-row button")]
    .filter(one => one.checkVisibility() && one.tabIndex >= 0).map((one, index) => {
        one.dataset.action = index;
        return one.textContent.trim();
    })"""
FOCUSED = "() => document.activeElement.dataset.action ?? null"


@pytest.mark.parametrize("kind", MAKES)
def test_tab_reaches_every_action_of_the_page(open_page, stack, kind):
    path, make = MAKES[kind]
    row = make()
    page = open_page(f"/admin/{path}/{row.pk}/change/", account=SuperuserFactory())
    actions = page.evaluate(ACTIONS)
    assert any("Pause" in name for name in actions)
    assert kind != "Campaigns" or any("Raise the quantity" in name for name in actions)
    reached = set()
    for _ in range(150):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    missed = [name for index, name in enumerate(actions) if str(index) not in reached]
    assert missed == []


def test_the_buttons_of_an_instant_and_what_it_is_elsewhere(open_page, stack):
    page = open_page("/admin/sales/sale/add/", account=SuperuserFactory(), timezone_id="Asia/Seoul")
    page.locator("#id_opens_at").fill("2099-01-01T10:00")
    elsewhere = page.locator("#id_opens_at_elsewhere")
    expect(elsewhere).to_have_text(
        re.compile(r"2099-01-01 10:00 UTC · 2099-01-01 19:00 Asia/Seoul \(this browser\) · in \d+ d \d+ h")
    )
    buttons = page.locator(".fc-instant-buttons").first
    buttons.get_by_role("button", name="Next full hour").click()
    assert page.locator("#id_opens_at").input_value()[14:] in ("00", "00:00")
    before = page.locator("#id_opens_at").input_value()[:13]
    buttons.get_by_role("button", name="+1 h").click()
    assert page.locator("#id_opens_at").input_value()[:13] != before
