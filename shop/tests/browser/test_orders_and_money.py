"""What operators do with orders and money in a browser, each from the home page, with the clicks counted."""

from datetime import timedelta

import pytest

from foundation import clock
from foundation.tests.factories import SuperuserFactory, reloaded, set_columns
from foundation.tests.instants import ago
from foundation.tests.racing import wait_until
from inventory.tests.factories import ProductFactory
from orders import order_numbers
from orders.models import Order, Refund, Saga
from orders.tests import hanging, operating_pages
from payments.models import Payment
from shop.tests.browser.browser_thread import PATIENCE_SECONDS, expect


class Clicks:
    """Clicks elements, and counts how often."""

    def __init__(self):
        self.number = 0

    def on(self, element):
        self.number += 1
        element.click()


@pytest.fixture
def clicks():
    return Clicks()


@pytest.fixture
def olga(transactional_db):
    return SuperuserFactory(username="olga")


def stuck_payment() -> Saga:
    """The saga of a card that was charged without an answer; no worker takes it up by itself."""
    row = hanging.started(ProductFactory(name="Mug", on_hand=5, price=1_000), "tok_timeout_charged")
    in_doubt = Payment.objects.filter(pk=row.subject_id, status="in_doubt")
    if not in_doubt.exists():
        hanging.advance(row)
    wait_until(in_doubt.exists, seconds=PATIENCE_SECONDS)
    later = clock.now() + timedelta(seconds=90)
    set_columns(row, state="stuck", deadline_at=ago(hours=1), next_attempt_at=later, leased_until=None)
    return row


def test_a_stuck_payment_is_finished_in_three_clicks(open_page, olga, clicks, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5
    row = stuck_payment()
    page = open_page("/admin/", account=olga)
    clicks.on(page.locator(f"#sagas a[href*='{row.pk}']"))
    expect(page.locator(".fc-situation")).to_contain_text("The gateway has charged")
    expect(page.locator("details.fc-technical").first).not_to_have_attribute("open", "")
    clicks.on(page.locator(".fc-situation a"))
    page.locator("[name=reason]").fill("The gateway has the charge.")
    clicks.on(page.get_by_role("button", name="Finish the sale"))
    expect(page).to_have_url(f"/admin/orders/saga/{row.pk}/change/")
    wait_until(lambda: reloaded(row).state == Saga.State.DONE, seconds=PATIENCE_SECONDS)
    assert clicks.number <= 3


def find(page, order: Order):
    """Type the order's number into the search, and open it by keys alone."""
    page.keyboard.press("Control+k")
    page.keyboard.type(order_numbers.shown(order.number))
    page.keyboard.press("Enter")
    expect(page).to_have_url(operating_pages.page_of(order))


def test_one_unit_is_refunded_in_three_clicks_and_the_amount_follows_the_stepper(open_page, olga, clicks):
    order = operating_pages.paid_order(units=3, points=200, discount=100)
    page = open_page("/admin/", account=olga)
    find(page, order)
    clicks.on(page.locator(f"a[href='{operating_pages.page_of(order, 'refund')}'] >> visible=true"))
    submit, live = page.locator("form:has(#refund-live) button[type=submit]"), page.locator("#refund-live")
    expect(submit).to_be_disabled()
    clicks.on(page.get_by_role("button", name="One more of Tea"))
    expect(submit).to_have_text("Refund 467 KRW")
    expect(live).to_contain_text("In points: 66 KRW · By card: 401 KRW")
    units = page.locator(".fc-stepper input")
    page.locator("[name=what][value=all]").focus()
    units.fill("3")
    expect(submit).to_have_text("Refund 1,400 KRW")
    expect(page.locator("[name=what][value=all]")).to_be_checked()
    units.fill("4")
    expect(live).to_contain_text("less than or equal to 3")
    expect(submit).to_be_disabled()
    units.fill("1")
    expect(page.locator("[name=what][value=some]")).to_be_checked()
    expect(submit).to_have_text("Refund 467 KRW")
    page.locator("[name=reason]").fill("It came broken.")
    clicks.on(submit)
    expect(page).to_have_url(operating_pages.page_of(order))
    assert [(one.amount, one.points_amount) for one in Refund.objects.all()] == [(467, 66)]
    assert clicks.number <= 3


def test_a_paid_order_is_cancelled_in_two_clicks(open_page, olga, clicks):
    order = operating_pages.paid_order(units=3)
    page = open_page("/admin/", account=olga)
    find(page, order)
    clicks.on(page.locator(f"a[href='{operating_pages.page_of(order, 'cancel_and_refund')}']"))
    submit = page.locator("form:has(#refund-live) button[type=submit]")
    expect(submit).to_have_text("Cancel and refund 1,500 KRW")
    page.locator("[name=reason]").fill("The customer asked.")
    clicks.on(submit)
    expect(page).to_have_url(operating_pages.page_of(order))
    assert Refund.objects.get().amount == 1_500
    wait_until(lambda: reloaded(order).status == "refunded", seconds=PATIENCE_SECONDS)
    # The page shows it by itself.
    expect(page.locator(".fc-facts dd").first).to_contain_text("refunded")
    assert clicks.number <= 3


def test_an_accountant_exports_the_orders_of_last_month_in_two_clicks(open_page, olga, clicks):
    page = open_page("/admin/", account=olga)
    clicks.on(page.locator("#nav-sidebar a[href='/admin/reports/exports/']"))
    with page.expect_download() as download:
        clicks.on(page.locator("a[href*='/reports/exports/orders/']"))
    last = clock.today().replace(day=1) - timedelta(days=1)
    assert download.value.suggested_filename == f"orders-{last.replace(day=1)}-{last}.csv"
    assert clicks.number <= 2


def test_a_note_is_written_on_the_orders_page(open_page, olga):
    order = operating_pages.paid_order()
    page = open_page("/admin/", account=olga)
    find(page, order)
    page.locator("#new-note").fill("She calls back.")
    page.get_by_role("button", name="Add the note").click()
    expect(page.locator(".fc-note-of-staff")).to_contain_text("She calls back.")
