"""What operators do with orders and money in a browser, each from the home page, and how many clicks it takes."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from foundation import clock
from foundation.tests.factories import SuperuserFactory, reloaded, set_columns
from foundation.tests.instants import ago
from foundation.tests.racing import wait_until
from inventory.tests.factories import ProductFactory
from orders.models import Saga
from orders.tests import hanging
from payments.models import Payment
from shop.tests.browser.browser_thread import PATIENCE_SECONDS, expect


class Clicks:
    """Clicks elements, and counts how often."""

    def __init__(self) -> None:
        self.number = 0

    def on(self, element: Any) -> None:
        self.number += 1
        element.click()


@pytest.fixture
def clicks() -> Clicks:
    return Clicks()


@pytest.fixture
def olga(transactional_db) -> User:
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
    expect(page.locator(".fc-fold")).not_to_have_attribute("open", "")
    clicks.on(page.locator(".fc-situation a"))
    page.locator("[name=reason]").fill("The gateway has the charge.")
    clicks.on(page.get_by_role("button", name="Finish the sale"))
    expect(page).to_have_url(f"/admin/orders/saga/{row.pk}/change/")
    wait_until(lambda: reloaded(row).state == Saga.State.DONE, seconds=PATIENCE_SECONDS)
    assert clicks.number <= 3
