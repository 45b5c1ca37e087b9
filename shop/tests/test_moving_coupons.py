"""Reads of coupons while these move between the coupons and the archive: none is missed or found twice."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, connections, transaction

from coupons import audit as coupon_audit
from coupons import issued_coupons, pool, redemption
from coupons.admin import issue_curve
from coupons.allocation import eligibility
from coupons.archive import both_tables, moving
from coupons.models import Campaign, Coupon
from coupons.tests.archives import archive, closed_campaign, codes
from coupons.tests.factories import CampaignFactory, order_ids
from orders import audit as order_audit
from orders.admin.orders import OrderAdmin
from orders.models import Order
from shop.backoffice.campaign_page import CampaignResults
from shop.backoffice.search import finders
from shop.tests.clients import client_of
from shop.tests.factories import SuperuserFactory

pytestmark = pytest.mark.django_db(transaction=True)
COUPONS = 4
TABLES = ("coupons_coupon", "coupons_archivedcoupon", "coupons_campaign")


def move(campaign: Campaign) -> None:
    """Move the coupons of the campaign to the other table."""
    if codes(campaign)[0]:
        archive(campaign)
    else:
        moving.restore_batch(campaign_id=campaign.pk, after=0, size=COUPONS)
        moving.end_restore(campaign_id=campaign.pk)


@contextmanager
def moved_after_each_statement(campaign: Campaign) -> Iterator[None]:
    """Another thread moves the coupons after each statement of this thread that reads them, once at least."""
    movers: list[threading.Thread] = []

    def move_and_disconnect() -> None:
        try:
            move(campaign)
        finally:
            connections.close_all()

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = run(sql, params, many, context)
        if any(table in sql for table in TABLES):
            movers.append(threading.Thread(target=move_and_disconnect))
            movers[-1].start()
            movers[-1].join(timeout=30)
        return result

    with connection.execute_wrapper(execute):
        yield
    assert movers


def get(coupon: Coupon) -> object:
    return issued_coupons.get(code=coupon.code, owner_id=coupon.account_id)


def read_for_an_order(coupon: Coupon) -> object:
    return redemption.read_by_code([coupon.code])[coupon.code]


def lock_for_an_order(coupon: Coupon) -> object:
    with transaction.atomic():
        return redemption.lock_by_code([coupon.code])[coupon.code]


def find_existing(coupon: Coupon) -> object:
    campaign = Campaign.objects.get(pk=coupon.campaign_id)
    return eligibility.existing_coupons(campaign, [coupon.account_id])[coupon.account_id]


def read_with_the_campaign(coupon: Coupon) -> object:
    return eligibility.read_campaign(coupon.campaign_id, [coupon.account_id])[1][coupon.account_id]


def answer_without_lock(coupon: Coupon) -> object:
    issued = eligibility.answer_without_lock(campaign_id=coupon.campaign_id, user_id=coupon.account_id)
    return getattr(issued, "coupon", None)


def add_to_a_pool(coupon: Coupon) -> object:
    of_pool = CampaignFactory.create(code_source="pool")
    [skipped] = pool.add(campaign_id=of_pool.pk, codes=[coupon.code], reason="new codes").skipped
    return Coupon(pk=coupon.pk, code=skipped)


def search_coupon(coupon: Coupon) -> object:
    [hit] = finders._coupons(coupon.code, 10)
    return Coupon(pk=coupon.pk, code=hit.title)


def search_order(coupon: Coupon) -> object:
    [hit] = finders._orders(coupon.code, 10)
    assert hit.title == str(coupon.order_id)
    return coupon


def list_order(coupon: Coupon) -> object:
    orders = OrderAdmin(Order, admin.site).search(Order.objects.all(), coupon.code)
    assert orders.get().pk == coupon.order_id
    return coupon


def list_own(coupon: Coupon) -> object:
    [row] = client_of(coupon.account).get("/coupons").json()["results"]
    return Coupon(pk=coupon.pk, code=row["code"])


READS = [
    get,
    read_for_an_order,
    lock_for_an_order,
    find_existing,
    read_with_the_campaign,
    answer_without_lock,
    add_to_a_pool,
    search_coupon,
    search_order,
    list_order,
    list_own,
]
# How many coupons of the campaign are archived at first: none, some but not that which is read, or all.
ARCHIVED = [0, 2, COUPONS]


def redeemed_coupon() -> Coupon:
    """The last coupon of a closed campaign, whose order is paid for."""
    campaign = closed_campaign(coupons=COUPONS)
    [order_id] = order_ids(1)
    coupon = Coupon.objects.get(campaign=campaign, position=COUPONS)
    Coupon.objects.filter(pk=coupon.pk).update(status="redeemed", order=order_id)
    return Coupon.objects.select_related("campaign").get(pk=coupon.pk)


def archive_some(campaign: Campaign, count: int) -> None:
    if count:
        archive(campaign, size=count)


@pytest.mark.parametrize("archived", ARCHIVED)
@pytest.mark.parametrize("read", READS)
def test_a_coupon_is_found_wherever_it_moves_between_the_statements(
    read: Callable[[Coupon], Coupon], archived: int
) -> None:
    coupon = redeemed_coupon()
    archive_some(coupon.campaign, archived)
    with moved_after_each_statement(coupon.campaign):
        found = read(coupon)
    assert (found.pk, found.code) == (coupon.pk, coupon.code)
    assert type(found.pk) is int


@pytest.mark.parametrize("archived", ARCHIVED)
@pytest.mark.parametrize("query", ["limit=1", "limit=3", "limit=1&status=expired"])
def test_the_pages_of_a_list_have_each_coupon_once_while_they_move(
    monkeypatch: pytest.MonkeyPatch, query: str, archived: int
) -> None:
    monkeypatch.setattr("shop.http.pagination.ROWS_AT_ONCE", 2)
    campaign = closed_campaign(coupons=COUPONS)
    expected = list(Coupon.objects.order_by("-pk").values_list("code", flat=True))
    archive_some(campaign, archived)
    staff = client_of(SuperuserFactory.create())
    with moved_after_each_statement(campaign):
        page = staff.get(f"/coupons?{query}").json()
        found = page["results"]
        while page["next"]:
            page = staff.get(page["next"]).json()
            found += page["results"]
    assert [row["code"] for row in found] == expected


def test_read_by_a_statement_for_each_table_coupons_are_counted_twice_while_they_move() -> None:
    campaign = closed_campaign(coupons=COUPONS)
    with moved_after_each_statement(campaign):
        found = [table._default_manager.filter(campaign=campaign).count() for table in both_tables.TABLES]
    assert sum(found) == 2 * COUPONS


@pytest.mark.parametrize("archived", ARCHIVED)
def test_the_results_of_a_campaign_count_each_coupon_once_while_they_move(
    monkeypatch: pytest.MonkeyPatch, archived: int
) -> None:
    monkeypatch.setattr("shop.backoffice.campaign_page.COUPONS_AT_ONCE", 2)
    coupon = redeemed_coupon()
    Order.objects.filter(pk=coupon.order_id).update(status="paid", paid_at=coupon.issued_at)
    total_amount = Order.objects.get().total_amount
    archive_some(coupon.campaign, archived)
    results = CampaignResults(Campaign.objects.get())
    with moved_after_each_statement(coupon.campaign):
        assert len(list(results.read())) == 2
    assert results.coupons == {"issued": COUPONS - 1, "redeemed": 1}
    assert (results.orders, results.amounts["total_amount"]) == (1, total_amount)


@pytest.mark.parametrize("archived", ARCHIVED)
def test_the_curve_of_issue_has_each_coupon_while_they_move(archived: int) -> None:
    campaign = closed_campaign(coupons=COUPONS)
    archive_some(campaign, archived)
    campaign.refresh_from_db()
    expected = issue_curve.read(campaign)
    assert expected is not None and sum(expected.counts) == COUPONS
    with moved_after_each_statement(campaign):
        assert issue_curve.read(campaign) == expected


def test_a_campaign_that_was_read_before_its_coupons_were_archived_still_has_them() -> None:
    campaign = closed_campaign(coupons=COUPONS)
    owners = set(Coupon.objects.values_list("account_id", flat=True))
    archive(campaign)
    assert campaign.archived_at is None
    assert eligibility.existing_coupons(campaign, owners).keys() == owners
    results, curve = CampaignResults(campaign), issue_curve.read(campaign)
    list(results.read())
    assert curve is not None
    assert sum(results.coupons.values()) == sum(curve.counts) == COUPONS


def test_the_audit_counts_each_coupon_once_and_misses_no_offender_while_they_move() -> None:
    coupon = redeemed_coupon()
    with moved_after_each_statement(coupon.campaign):
        assert coupon_audit.held_by_one_order().checked == COUPONS
    # Its order was never paid: it must not have redeemed the coupon.
    archive(coupon.campaign)
    with moved_after_each_statement(coupon.campaign):
        assert coupon.code in order_audit.coupons_are_held_by_open_orders().offenders
