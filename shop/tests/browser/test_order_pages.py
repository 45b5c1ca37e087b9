"""Support works on an order: refunds a line, and retries what is stuck, in a browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from orders.models import Order, Saga
from orders.tests import stepping
from orders.tests.test_operating_admin import late, started
from payments.models import Entry
from scripts.tests.simulator import Simulator
from shop.tests import own_data_platform
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.stack import Stack
from shop.tests.factories import SuperuserFactory
from shop.tests.racing import wait_until

PATIENCE_SECONDS = 60


@pytest.fixture
def stuck(stack: Stack, data_platform_process: tuple[Simulator, Path]) -> Saga:
    """A saga of a paid order whose event the data platform failed to store; it works again.

    The stack's worker takes new sagas as the test does: the fault is in the data platform, for both.
    """
    with own_data_platform.failing(data_platform_process[1]):
        row = started()
        wait_until(lambda: _is_paid(row), seconds=PATIENCE_SECONDS)
        late(row)
        wait_until(lambda: stepping.advance(row.id) == Saga.State.STUCK, seconds=PATIENCE_SECONDS)
    return row


def _is_paid(row: Saga) -> bool:
    """Whether the saga's order is paid, after an attempt to advance it."""
    stepping.advance(row.id)
    return Order.objects.get(id=row.about_id).status == "paid"


def card(page: Any, title: str) -> Any:
    """The card of an order's page with this title."""
    return page.locator(".fc-page > *", has=page.get_by_text(title, exact=True)).last


def paid_back(order: Order) -> int:
    """What the ledger's entries of refunds gave back to the order's customer in points."""
    entries = Entry.objects.filter(transfer__kind="refund", account__user_id=order.account_id)
    return sum(entries.values_list("amount", flat=True))


def test_a_stuck_saga_is_retried_from_its_page_and_completes(
    open_page: Callable[..., Any], stack: Stack, stuck: Saga
) -> None:
    page = open_page(reverse("admin:orders_saga_changelist"), account=SuperuserFactory.create())
    page.locator("#result_list a", has_text=str(stuck.pk)).first.click()
    page.locator(f"a[href='{reverse('admin:orders_saga_retry', args=[stuck.pk])}']").click()
    dialog = page.locator("#modal-content")
    expect(dialog.locator("[name=reason]")).to_be_focused()
    assert accessibility.findings(page) == []
    dialog.locator("[type=submit]").click()
    expect(dialog.locator(".errors")).to_be_visible()
    dialog.locator("[name=reason]").fill("The data platform is back.")
    dialog.locator("[type=submit]").click()

    wait_until(lambda: Saga.objects.get(pk=stuck.pk).state == Saga.State.DONE, seconds=PATIENCE_SECONDS)
    expect(dialog).to_be_hidden()
    page.reload()
    expect(page.get_by_text("The data platform is back.").first).to_be_visible()
    expect(page.locator(f"a[href='{reverse('admin:orders_saga_retry', args=[stuck.pk])}']")).to_have_count(0)
