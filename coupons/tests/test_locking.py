"""A batch's lock on the campaign and its accounts' coupons, by one statement."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from coupons.allocation import eligibility, writes
from coupons.allocation.writes import Issued
from coupons.issuing import issuing
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory, accounts
from shop.db import transactions
from shop.events.journal import SYSTEM
from shop.tests.racing import wait_until
from shop.tests.second_connection import another_connection, ask, holding
from shop.tests.waiting import in_background, waiting_at

pytestmark = pytest.mark.django_db(transaction=True)

KEEP = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"
KEEP_COUPON = "SELECT id FROM coupons_coupon WHERE account_id = %s FOR UPDATE"
INSERT = """
INSERT INTO coupons_coupon
    (campaign_id, account_id, code, position, status, void_reason, issued_at, expires_at)
VALUES (%s, %s, %s, %s, 'issued', '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))
"""
SOON = 10.0


def test_the_lock_reads_what_was_committed_while_it_waited() -> None:
    campaign = CampaignFactory.create()
    both = accounts(2)
    now = timezone.now()
    coupon = writes.new_coupon(campaign, both[0], "FRESH", 1, now)
    with another_connection() as other:
        other.set_autocommit(False)
        ask(other, KEEP, campaign.pk)
        waiting = in_background(lambda: locked_and_seen(campaign, both))
        wait_until(lambda: waiting_at("%coupons_campaign%") == 1)
        write_on(other, coupon)
        other.commit()
        seen, had = waiting.result(SOON)
    assert seen.issued == 1
    assert {user_id: one.code for user_id, one in had.items()} == {both[0]: "FRESH"}


def test_a_coupon_is_not_written_outside_of_the_transaction_that_counts_its_slot() -> None:
    """It would stay where its count is rolled back, and the next one would get its position."""
    campaign, [account_id] = CampaignFactory.create(), accounts(1)
    with pytest.raises(transaction.TransactionManagementError):
        writes.write_slots(campaign, {account_id: "FRESH"}, by={account_id: SYSTEM}, now=timezone.now())
    assert not Coupon.objects.exists()


def test_a_coupon_locked_by_an_order_delays_no_request() -> None:
    campaign = CampaignFactory.create()
    owner, newcomer = accounts(2)
    code = issuing.issue(campaign_id=campaign.pk, user_id=owner).coupon.code

    with holding(KEEP_COUPON, owner):
        again = issuing.issue(campaign_id=campaign.pk, user_id=owner)
        assert (again.coupon.code, again.is_new) == (code, False)
        assert issuing.issue(campaign_id=campaign.pk, user_id=newcomer).is_new


def test_what_is_read_is_what_the_orm_reads() -> None:
    campaign = CampaignFactory.create(closes_at=timezone.now() + timedelta(days=1))
    owner, other = accounts(2)
    issuing.issue(campaign_id=campaign.pk, user_id=owner)

    with transaction.atomic():
        applicants = eligibility.lock_campaign(campaign.pk, [owner, other])

    seen, had = applicants.campaign, applicants.existing
    assert columns_of(seen) == columns_of(Campaign.objects.get(pk=campaign.pk))
    assert {user_id: columns_of(one) for user_id, one in had.items()} == {
        owner: columns_of(Coupon.objects.get(account_id=owner))
    }
    assert had[owner].campaign is seen


def test_a_new_coupon_is_what_the_database_has_of_it() -> None:
    campaign = CampaignFactory.create()
    [user_id] = accounts(1)

    issued = issuing.issue(campaign_id=campaign.pk, user_id=user_id)

    assert isinstance(issued, Issued)
    written = columns_of(Coupon.objects.get(account_id=user_id))
    assert columns_of(issued.coupon) | {"id": written["id"]} == written
    assert set(writes.COLUMNS) | {"id", "order_id"} == set(written)


def locked_and_seen(campaign: Campaign, user_ids: list[int]) -> tuple[Campaign, dict[int, Coupon]]:
    seen = transactions.run(lambda: eligibility.lock_campaign(campaign.pk, user_ids), transactions.KEYED)
    return seen.campaign, seen.existing


def write_on(other: Any, coupon: Coupon) -> None:
    """Write the coupon and count it, as another process would."""
    ask(other, INSERT, coupon.campaign_id, coupon.account_id, coupon.code, coupon.position)
    ask(other, "UPDATE coupons_campaign SET issued = issued + 1 WHERE id = %s", coupon.campaign_id)


def columns_of(row: Campaign | Coupon) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
