"""Campaigns and their coupons, by the thousand: numbered without gaps, counted, and noted in the journal."""

from django.db import transaction

from coupons.models import Campaign, Coupon
from lab.bench.filling.rows import (
    BITE,
    CODE,
    bites,
    choose_accounts,
    insert,
    note,
    open_campaign,
    progress,
)
from shop import clock

CAMPAIGNS = 20


def fill_coupons(count: int) -> None:
    """Issue that many coupons of new campaigns, each to its next account, with their journal."""
    each = -(-count // CAMPAIGNS)
    choose_accounts(each)
    left = count
    count_done = progress("coupons", count)
    for _ in range(CAMPAIGNS):
        campaign_id = open_campaign(quantity=each)
        for first, last in bites(min(each, left), BITE):
            _issue(campaign_id, first=first, last=last)
            count_done(last - first + 1)
        left -= min(each, left)


@transaction.atomic
def _issue(campaign_id: int, *, first: int, last: int) -> None:
    """Give the positions from `first` to `last` to the accounts of these numbers; those before are given."""
    Campaign.objects.filter(pk=campaign_id, issued=first - 1).update(issued=last)
    names = {"first": first, "last": last, "now": clock.now().replace(tzinfo=None)}
    code = CODE.format(seed=f"{campaign_id}, ' ', number")
    insert(
        Coupon,
        "filling_account WHERE number BETWEEN %(first)s AND %(last)s",
        names,
        campaign_id=str(campaign_id),
        account_id="account_id",
        code=f"CONCAT({code}, LPAD(MOD(number, 100), 2, '0'))",
        position="number",
        status="'issued'",
        issued_at="%(now)s",
        expires_at="%(now)s + INTERVAL 30 DAY",
    )
    note(
        f"coupons_coupon WHERE campaign_id = {campaign_id} AND position BETWEEN %(first)s AND %(last)s",
        names,
        at="issued_at",
        actor="'account'",
        actor_id="account_id",
        request_id="UUID()",
        what="'coupon.issued'",
        subject="CONCAT('coupon ', code)",
        after="JSON_OBJECT('coupon', code, 'campaign', campaign_id, 'account', account_id, "
        "'position', position, 'status', status)",
    )
