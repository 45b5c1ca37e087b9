"""Which status an order may have next, when it has lapsed, and who may still pay or cancel it."""

from datetime import UTC, datetime, timedelta

import pytest

from foundation.errors import Rejected
from orders import order_states
from orders.order_states import ENDED, OPEN, PAID, Status

pytestmark = pytest.mark.rules
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=1)


def test_every_status_is_open_paid_or_ended():
    assert sorted([*OPEN, *PAID, *ENDED]) == sorted(Status)


@pytest.mark.parametrize("status", ENDED)
def test_an_order_that_ended_unpaid_stays_so(status):
    assert order_states.TRANSITIONS[status] == frozenset()


@pytest.mark.parametrize(
    ("status", "sources"),
    [
        pytest.param("paid", ["paying", "refunding", "refunded"], id="paid, or a refund failed"),
        pytest.param("awaiting_payment", ["paying"], id="kept for another card"),
        pytest.param("refunded", ["refunding"], id="refunded"),
    ],
)
def test_a_status_follows_those_of_the_table_alone(status, sources):
    assert order_states.SOURCES[status] == sources


@pytest.mark.parametrize(
    ("status", "expires_at", "shown"),
    [
        pytest.param("awaiting_payment", SOON, "awaiting_payment", id="in time"),
        pytest.param("awaiting_payment", NOW, "expired", id="at its end"),
        pytest.param("paying", NOW, "paying", id="being paid"),
    ],
)
def test_an_unpaid_order_shows_as_expired_from_the_end_of_its_time(status, expires_at, shown):
    assert order_states.status_at(status, expires_at, NOW) == shown
    assert order_states.is_lapsed(status, expires_at, NOW) is (shown == "expired")


@pytest.mark.parametrize(
    ("status", "expires_at", "text"),
    [
        pytest.param("awaiting_payment", NOW, "has ended already", id="lapsed"),
        pytest.param("expired", SOON, "has ended already", id="expired"),
        pytest.param("paying", SOON, "being paid", id="being paid"),
        pytest.param("paid", SOON, "ask for a refund", id="paid"),
        pytest.param("refunded", SOON, "ask for a refund", id="refunded"),
    ],
)
def test_an_order_that_awaits_no_payment_is_not_cancelled(status, expires_at, text):
    with pytest.raises(Rejected, match=text) as refusal:
        order_states.check_cancellable(status, expires_at, NOW)

    assert refusal.value.code == "order_not_cancellable"


def test_an_order_that_awaits_its_payment_may_be_cancelled():
    order_states.check_cancellable("awaiting_payment", SOON, NOW)


@pytest.mark.parametrize(
    ("status", "expires_at", "payments", "reason"),
    [
        pytest.param("awaiting_payment", NOW, 0, "not_awaiting_payment", id="lapsed"),
        pytest.param("paid", SOON, 1, "not_awaiting_payment", id="paid"),
        pytest.param("awaiting_payment", SOON, 5, "too_many_payments", id="after five cards"),
    ],
)
def test_an_order_is_not_paid_twice_nor_late_nor_after_many_cards(status, expires_at, payments, reason):
    with pytest.raises(Rejected) as refusal:
        order_states.check_payable(status, expires_at, NOW, payments=payments, most_payments=5)

    assert (refusal.value.code, refusal.value.extra["reason"]) == ("order_not_payable", reason)


def test_an_order_that_awaits_payment_may_be_paid_with_its_last_card():
    order_states.check_payable("awaiting_payment", SOON, NOW, payments=4, most_payments=5)


@pytest.mark.parametrize(
    ("is_refunding", "has_units_left", "has_amount_left", "status"),
    [
        pytest.param(True, False, False, "refunding", id="another refund is under way"),
        pytest.param(False, True, False, "paid", id="units are left"),
        pytest.param(False, False, True, "paid", id="a disputed amount is left"),
        pytest.param(False, False, False, "refunded", id="nothing is left"),
    ],
)
def test_an_order_is_refunded_once_nothing_of_it_is_left(
    is_refunding, has_units_left, has_amount_left, status
):
    found = order_states.status_after_refund(
        is_refunding=is_refunding, has_units_left=has_units_left, has_amount_left=has_amount_left
    )

    assert found == status


@pytest.mark.parametrize(
    ("status", "after"), [("refunded", "paid"), ("paid", "paid"), ("refunding", "refunding")]
)
def test_a_refund_that_fails_leaves_an_order_paid_but_for_one_with_another_refund(status, after):
    assert order_states.status_after_failed_refund(status) == after
