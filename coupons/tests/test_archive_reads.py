"""Reads of coupons while they are archived or restored: each is found once, whichever table it is in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from coupons import issued_coupons, pool, redemption
from coupons.admin import issue_curve
from coupons.allocation import eligibility
from coupons.archive import moving
from coupons.models import ArchivedCoupon, Campaign, Coupon
from coupons.tests.archives import archive, closed_campaign, codes
from shop.backoffice.campaign_page import CampaignResults
from shop.backoffice.search import finders
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)
TABLES = ("coupons_coupon", "coupons_archivedcoupon")


def restore(campaign: Campaign) -> None:
    moving.restore_batch(campaign_id=campaign.pk, after=0, size=1_000)
    moving.end_restore(campaign_id=campaign.pk)


@contextmanager
def moved_after_the_first_look(move: Callable[[Campaign], object], campaign: Campaign) -> Iterator[None]:
    """Have another thread move the campaign's coupons once the first statement has read any."""
    moved: list[object] = []

    def move_once(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if not moved and sql.lstrip("(\n ").startswith("SELECT") and any(table in sql for table in TABLES):
            moved.extend(race([lambda: move(campaign)]))
        return result

    with connection.execute_wrapper(move_once):
        yield
    assert moved


@pytest.fixture
def campaign() -> Campaign:
    """A campaign of four coupons, of which the first two are archived."""
    campaign = closed_campaign(coupons=4)
    archive(campaign, size=2)
    return Campaign.objects.get(pk=campaign.pk)


def counted(campaign: Campaign) -> int:
    results = CampaignResults(campaign)
    list(results.read())
    return sum(results.coupons.values())


def issued(campaign: Campaign) -> int:
    curve = issue_curve.read(campaign)
    return sum(curve.counts) if curve else 0


@pytest.mark.parametrize("move", [archive, restore])
@pytest.mark.parametrize("read", [counted, issued])
def test_figures_count_each_coupon_once_while_it_moves(campaign, move, read):
    with moved_after_the_first_look(move, campaign):
        assert read(campaign) == 4


@pytest.mark.parametrize("move", [archive, restore])
@pytest.mark.parametrize("position", [1, 4])
def test_a_coupon_is_found_by_its_code_and_its_account_while_it_moves(position, move):
    def find(read: Callable[[Campaign, Coupon | ArchivedCoupon], object]) -> tuple[object, str]:
        campaign = closed_campaign(coupons=4)
        archive(campaign, size=2)
        campaign.refresh_from_db()
        table = ArchivedCoupon if position <= 2 else Coupon
        coupon = table._default_manager.get(campaign=campaign, position=position)
        with moved_after_the_first_look(move, campaign):
            found = read(campaign, coupon)
        return found, coupon.code

    def searched(campaign: Campaign, coupon: Coupon | ArchivedCoupon) -> list[str]:
        return [hit.title for hit in finders._coupons(coupon.code, 5)]

    for read in (
        lambda campaign, coupon: issued_coupons.get(code=coupon.code, owner_id=coupon.account_id).code,
        lambda campaign, coupon: redemption.read_by_code([coupon.code])[coupon.code].code,
        lambda campaign, coupon: (
            eligibility.existing_coupons(campaign, [coupon.account_id])[coupon.account_id].code
        ),
        lambda campaign, coupon: (
            eligibility.read_campaign(campaign.pk, [coupon.account_id])[1][coupon.account_id].code
        ),
        lambda campaign, coupon: pool._existing_codes([coupon.code]).pop(),
        lambda campaign, coupon: ",".join(searched(campaign, coupon)),
    ):
        found, code = find(read)
        assert found == code


def test_a_campaign_that_was_read_before_its_coupons_were_archived_still_has_them():
    campaign = closed_campaign(coupons=2)
    owners = set(Coupon.objects.values_list("account_id", flat=True))
    archive(campaign)
    assert campaign.archived_at is None
    assert eligibility.existing_coupons(campaign, owners).keys() == owners
    assert (counted(campaign), issued(campaign)) == (2, 2)


def test_what_is_read_of_both_tables_by_two_statements_is_counted_twice_while_it_moves(campaign):
    with moved_after_the_first_look(archive, campaign):
        found = [
            table._default_manager.filter(campaign=campaign).count() for table in (Coupon, ArchivedCoupon)
        ]
    assert sum(found) == 6


def test_a_coupon_that_is_found_in_the_archive_has_all_that_it_had(campaign):
    archive(campaign)
    code = codes(campaign)[1].pop()
    archived = ArchivedCoupon.objects.get(code=code)
    found = issued_coupons.get(code=code, owner_id=None)
    columns = [field.attname for field in Coupon._meta.concrete_fields]
    assert [getattr(found, name) for name in columns] == [getattr(archived, name) for name in columns]
    assert found.status_at(timezone.now()) == "expired"


def test_both_tables_have_the_same_columns():
    coupons, archived = (
        {field.column: field.get_internal_type() for field in table._meta.concrete_fields}
        for table in (Coupon, ArchivedCoupon)
    )
    assert coupons | {"id": archived["id"]} == archived
