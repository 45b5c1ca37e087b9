"""Home and the sales report in a browser: each task starts from /admin/."""

from datetime import timedelta

import pytest
from django.utils import timezone

from backoffice.tests.test_home_page import in_doubt, saga
from backoffice.tests.test_sales_report import rows_by_hand
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.tests.factories import SuperuserFactory
from inventory.models import ProductDay
from inventory.tests.factories import ProductFactory
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect

PHONE = 390


@pytest.fixture
def busy_day(stack):
    """Sales of today, yesterday and last month, losses, and work of each colour."""
    now = timezone.now()
    last_month = clock.day_bounds(clock.today().replace(day=1) - timedelta(days=3))[0]
    product = ProductFactory(on_hand=1, low_stock_threshold=5)
    rows_by_hand(2, at=last_month)
    rows_by_hand(5, at=now - timedelta(minutes=2))
    for day in (clock.today(), clock.day_of(last_month)):
        lost = {"lost_units": 3, "lost_amount": 3_000, "lost_sold_out": 2, "lost_declined": 1}
        sold = {"sold_amount": 5_000}
        ProductDay.objects.update_or_create(day=day, product=product, defaults=lost | sold)
    CampaignFactory(name="Summer", opens_at=now + timedelta(hours=3))
    CampaignFactory(name="Spring", paused_at=now - timedelta(minutes=5))
    saga(deadline_at=now - timedelta(hours=3), state="stuck")
    in_doubt()


def findings(page) -> list[str]:
    return [*accessibility.findings(page), *page.evaluate(accessibility.OVERFLOW)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, PHONE])
def test_last_months_report_is_one_click_from_home_and_both_are_readable(open_page, busy_day, scheme, width):
    page = open_page("/admin/", account=SuperuserFactory(), width=width, color_scheme=scheme)
    expect(page.get_by_text("Today so far")).to_be_visible()
    assert findings(page) == []

    resume = page.locator("#campaigns .fc-press").bounding_box()
    assert width > PHONE or (
        resume["height"] >= 44 and resume["y"] < page.locator(".fc-menu").bounding_box()["y"]
    )

    page.get_by_role("link", name="Last month's report").click()

    first = (clock.today().replace(day=1) - timedelta(days=1)).replace(day=1)
    expect(page.locator("[name=since]")).to_have_value(f"{first}")
    expect(page.get_by_role("heading", name="Losses by cause")).to_be_visible()
    before = page.locator(".fc-stack td:nth-child(3)").first
    assert before.evaluate("cell => cell.getBoundingClientRect().right <= innerWidth")
    assert page.locator("svg[role=img] rect").count() == 1
    assert "61 KRW" in page.get_by_role("region", name="Summary").inner_text()
    assert findings(page) == []


def test_the_time_until_an_opening_runs_and_yesterday_is_one_click_more(open_page, busy_day):
    page = open_page("/admin/", account=SuperuserFactory())
    left = page.locator("time[data-countdown]")
    before = left.inner_text()
    expect(left).not_to_have_text(before)
    assert left.inner_text().startswith("02:59:")
    page.get_by_role("link", name="Yesterday's report").click()
    page.get_by_role("link", name="Last month", exact=True).click()
    expect(page.get_by_role("link", name="Last month", exact=True)).to_have_attribute("aria-current", "true")


@pytest.mark.parametrize("width", [1366, PHONE])
def test_the_menu_is_shown_once_and_leads_to_the_engine_room(open_page, busy_day, width):
    page = open_page("/admin/", account=SuperuserFactory(), width=width)
    shown = page.get_by_role("link", name="Engine room").filter(visible=True)
    expect(shown).to_have_count(1)
    shown.click()
    expect(page.get_by_role("link", name="Saga logs")).to_be_visible()
    assert findings(page) == []
