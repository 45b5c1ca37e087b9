"""Cancelling and expiring release once what an unpaid order holds; what locked rows hold up, and what not."""

import logging
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from coupons import issuing
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory, accounts
from foundation.db import stuck_rows, transactions
from foundation.models import JournalLine
from foundation.observability import gauges
from foundation.tests import servers
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.instants import ago
from foundation.tests.journal_lines import times_noted
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import ask, holding, holding_row
from foundation.tests.waiting import within
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import cancellation, doctor
from orders.models import Order
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)
ONE_LOCK_WAIT = 5.0


def lapse(*orders: Order):
    past = ago(seconds=1)
    Order.objects.filter(id__in=[order.id for order in orders]).update(expires_at=past)


def test_orders_past_their_time_expire_and_the_others_stay():
    product, buyer = buying.product_and_buyer(on_hand=10, price=5_000)
    code = buying.coupon_code(buyer)
    late = [buying.order(buyer, product, coupon=code)]
    late.append(buying.order(buyer, {product: 2}))
    in_time = buying.order(buyer, {product: 4})
    paying = buying.order(buyer, product, token="tok_ok")
    lapse(*late, paying)
    assert cancellation.expire_due() == 2
    assert cancellation.expire_due() == 0
    assert {buying.state_of(order) for order in late} == {"expired"}
    assert buying.state_of(in_time) == "awaiting_payment"
    assert buying.state_of(paying) == "paying"
    assert Product.objects.get().reserved == 5
    assert Coupon.objects.get(code=code).status == "issued"


def test_more_than_one_batch_of_orders_expires(monkeypatch):
    monkeypatch.setattr(cancellation, "EXPIRY_BATCH_SIZE", 2)
    product, buyer = buying.product_and_buyer(on_hand=5)
    lapse(*(buying.order(buyer, product) for _ in range(5)))
    assert cancellation.expire_due() == 5
    assert Product.objects.get().reserved == 0


def test_an_order_whose_products_reserved_is_one_too_low_stops_no_other_from_expiring(caplog):
    buyer = buying.account()
    wrong, right = ProductFactory(on_hand=5), ProductFactory(on_hand=9)
    first = buying.order(buyer, right)
    bad = buying.order(buyer, {wrong: 2})
    others = [buying.order(buyer, right) for _ in range(3)]
    set_columns(wrong, reserved=1)
    lapse(first, bad, *others)

    assert cancellation.expire_due() == 4
    assert {buying.state_of(order) for order in (first, *others)} == {"expired"}
    assert buying.state_of(bad) == "awaiting_payment"
    assert reloaded(right).reserved == 0
    [noted] = JournalLine.objects.filter(order_id=bad.id, what="order.cannot_expire")
    assert "reserved_within_on_hand" in noted.detail and noted.is_internal
    [record] = [record for record in caplog.records if str(bad.id) in record.getMessage()]
    assert record.levelno == logging.ERROR

    assert cancellation.expire_due() == 0
    assert times_noted("order.cannot_expire") == 1, "noted once, tried each time"
    set_columns(wrong, reserved=2)
    assert cancellation.expire_due() == 1


@contextmanager
def orders_refused(reason: str):
    """The database refuses every change of an order."""
    trigger = "CREATE TRIGGER order_refused BEFORE UPDATE ON orders_order FOR EACH ROW "
    ask(connection, f"{trigger}SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = %s", reason)
    try:
        yield
    finally:
        ask(connection, "DROP TRIGGER order_refused")


def noted_of(order) -> list[str]:
    lines = JournalLine.objects.filter(order_id=order.id, what="order.cannot_expire").order_by("id")
    return list(lines.values_list("detail", flat=True))


def test_a_first_error_that_passes_does_not_hide_a_later_one_from_the_journal(unlawful):
    product = ProductFactory(on_hand=5)
    order = buying.place_for_newcomer(product, 2).order
    lapse(order)

    with orders_refused("the disk is full"):
        cancellation.expire_due()
    Product.objects.update(reserved=1)
    for _ in range(2):
        cancellation.expire_due()

    first, second = noted_of(order)
    assert "the disk is full" in first
    assert "reserved_within_on_hand" in second


def test_errors_that_alternate_or_differ_each_time_do_not_fill_the_journal():
    order = buying.place_for_newcomer(ProductFactory(on_hand=5), 2).order
    lapse(order)

    for reason in ["one", "two", "one", "two"]:
        with orders_refused(reason):
            cancellation.expire_due()
    assert len(noted_of(order)) == 2
    for reason in ["three", "four", "five"]:
        with orders_refused(reason):
            cancellation.expire_due()
    assert len(noted_of(order)) == cancellation.MOST_NOTED

    JournalLine.objects.update(at=timezone.now() - cancellation.NOTED_WITHIN)
    with orders_refused("six"):
        cancellation.expire_due()
    assert "six" in noted_of(order)[-1]


@pytest.mark.parametrize("is_one_by_one", [False, True])
def test_an_order_that_may_have_expired_is_not_noted_as_one_that_cannot(is_one_by_one, tmp_path, unlawful):
    """The reply to its COMMIT is lost, and the COMMIT arrives only once the attempts have ended."""
    buyer = buying.account()
    order = buying.order(buyer, ProductFactory(on_hand=5))
    lapse(order)
    wrong = ProductFactory(on_hand=5)
    if is_one_by_one:
        lapse(buying.order(buyer, {wrong: 2}))
        set_columns(wrong, reserved=1)
    has_ended = threading.Event()

    with losing_reply_to_commit(tmp_path, before_commit=lambda: has_ended.wait(30)) as is_lost:
        with within(ONE_LOCK_WAIT + 2 + servers.lateness_of_lock_waits(2)):
            ended = cancellation.expire_due()
        has_ended.set()
        assert is_lost.is_set()

    assert (ended, noted_of(order)) == (0, [])
    wait_until(lambda: buying.state_of(order) == "expired")


def test_orders_of_a_product_that_is_locked_for_long_expire_later_and_the_others_now():
    buyer = buying.account()
    locked, free = ProductFactory(on_hand=9), ProductFactory(on_hand=9)
    waiting = [buying.order(buyer, {locked: 1, free: 1}) for _ in range(3)]
    others = [buying.order(buyer, free) for _ in range(3)]
    lapse(*waiting, *others)
    with holding_row(locked), within(ONE_LOCK_WAIT + 2 + servers.lateness_of_lock_waits(2)):
        assert cancellation.expire_due() == 3
    assert {buying.state_of(order) for order in others} == {"expired"}
    assert cancellation.expire_due() == 3


def test_an_order_that_another_transaction_keeps_locked_stops_no_other_from_expiring():
    product, buyer = buying.product_and_buyer(on_hand=9)
    in_use, other = (buying.order(buyer, product) for _ in range(2))
    lapse(in_use, other)
    with holding("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", in_use.id.hex):
        assert cancellation.expire_due() == 1
    assert cancellation.expire_due() == 1


def test_operators_see_which_orders_keep_their_stock_though_their_time_is_over(admin_client):
    product, buyer = buying.product_and_buyer(on_hand=9)
    overdue, lately, in_time = (buying.order(buyer, product) for _ in range(3))
    lapse(overdue, lately)
    buying.change_order(overdue, expires_at=ago(minutes=2))

    page = admin_client.get("/admin/orders/order/", {"expiry": "overdue"}).text
    assert [str(order.id) in page for order in (overdue, lately, in_time)] == [True, False, False]
    assert b"firstcome_orders_overdue 1.0" in gauges.exposition()
    finding, _ = doctor.examine()
    assert (finding.level, finding.found[:2]) == ("warning", "1 ")
    cancellation.expire_due()
    assert [finding.level for finding in doctor.examine()] == ["ok", "ok"]
    assert b"firstcome_orders_overdue 0.0" in gauges.exposition()


LOCK_COUPON = "SELECT id FROM coupons_coupon WHERE id = %s FOR UPDATE"
LOCK_ACCOUNT = "SELECT id FROM auth_user WHERE id = %s FOR UPDATE"


def placed_at_once(*wanted: tuple[int, Product, str]) -> tuple[list[Any], float]:
    """The outcomes of these orders, and how long they took."""
    orders = [partial(buying.place, buyer, product, coupon=code) for buyer, product, code in wanted]
    began_at = time.monotonic()
    return race(orders), time.monotonic() - began_at


def is_refused(outcome) -> bool:
    return isinstance(outcome, transactions.LockWaitTimeout)


def test_a_locked_product_delays_orders_of_others_by_one_lock_wait_at_most():
    locked, free = ProductFactory(on_hand=99), ProductFactory(on_hand=99)
    buyers = accounts(24)
    with holding_row(locked):
        outcomes, seconds = placed_at_once(
            *((buyer, [locked, free][place % 2], "") for place, buyer in enumerate(buyers))
        )
        assert seconds < 2 * ONE_LOCK_WAIT, "not a lock wait for each of them"
        assert [is_refused(outcome) for outcome in outcomes] == [True, False] * 12
        outcomes, seconds = placed_at_once((buyers[0], locked, ""), (buyers[1], free, ""))
        assert [is_refused(outcome) for outcome in outcomes] == [True, False]
        assert seconds < 2, "a repeated order of the locked product does not stop the batcher again"
    assert reloaded(free).reserved == 13
    wait_until(lambda: not stuck_rows.any_known())
    assert buying.place(buyers[0], locked)


@pytest.mark.parametrize("statement", [LOCK_COUPON, LOCK_ACCOUNT])
def test_a_locked_coupon_or_account_fails_its_own_order_only(statement):
    product = ProductFactory(on_hand=99)
    owner, others = buying.account(), accounts(6)
    coupon = Coupon.objects.get(code=buying.coupon_code(owner))
    with holding(statement, coupon.pk if statement == LOCK_COUPON else owner.id):
        outcomes, seconds = placed_at_once(
            (owner.id, product, coupon.code), *((buyer, product, "") for buyer in others)
        )
    assert [is_refused(outcome) for outcome in outcomes] == [True, *[False] * 6]
    assert seconds < 2 * ONE_LOCK_WAIT + 2
    assert Order.objects.count() == 6


def test_a_locked_account_keeps_no_other_from_its_coupon():
    campaign = CampaignFactory(quantity=99)
    locked, *others = accounts(7)

    issue = partial(issuing.issue, campaign_id=campaign.pk)
    with holding(LOCK_ACCOUNT, locked):
        outcomes = race_each(lambda user_id: issue(user_id=user_id), (locked, *others))
    assert is_refused(outcomes[0])
    assert sorted(outcome.coupon.position for outcome in outcomes[1:]) == [1, 2, 3, 4, 5, 6]
