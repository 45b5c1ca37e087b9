"""Closed campaigns with their coupons, a campaign for each of the last months, made by MariaDB itself.

All coupons are one statement into an empty table without checks of keys: then InnoDB sorts each index once,
which is many times faster than to look up the place of each row. The audit checks what it made.
"""

from datetime import UTC, datetime, timedelta

from django.db import transaction

from coupons.models import Campaign, Coupon
from shop import clock
from shop.management.filling.rows import choose_accounts, execute, insert

AGE = timedelta(days=120)
"""How long ago the latest of them closed."""
STRIDE = 7_919
"""A prime: positions go through the accounts in another order than their ids."""
CODE = "CONCAT(LPAD(CONV(campaign.id, 10, 32), 2, '0'), LEFT(MD5(CONCAT(campaign.id, ' ', seq)), 14))"


def fill(count: int, *, months: int) -> int:
    """Fill in that many coupons, evenly over so many months; returns how many were made.

    Each account has one of each month.
    """
    each = count // months
    choose_accounts(each)
    closed_at, ids = clock.now() - AGE, list[int]()
    for _ in range(months):
        closed_at = (closed_at.replace(day=1) - timedelta(days=1)).replace(day=15)
        ids.append(_campaign(closed_at, issued=each))
    for check in ("unique_checks", "foreign_key_checks"):
        execute(f"SET SESSION {check} = 0")
    _issue(ids, each)
    for check in ("unique_checks", "foreign_key_checks"):
        execute(f"SET SESSION {check} = 1")
    return each * months


def _campaign(closed_at: datetime, *, issued: int) -> int:
    return Campaign.objects.create(
        name=f"{closed_at.astimezone(UTC):%Y-%m}",
        quantity=issued,
        issued=issued,
        opens_at=closed_at - timedelta(days=10),
        closes_at=closed_at,
        discount_type=Campaign.DiscountType.AMOUNT,
        discount_value=1_000,
    ).pk


@transaction.atomic
def _issue(campaign_ids: list[int], each: int) -> None:
    """Write all coupons of these campaigns: a tenth are void, all others have expired."""
    ids = ", ".join(map(str, campaign_ids))
    insert(
        Coupon,
        f"coupons_campaign AS campaign JOIN seq_1_to_{each} "
        f"JOIN filling_account ON number = MOD(seq * {STRIDE} + campaign.id, {each}) + 1 "
        f"WHERE campaign.id IN ({ids})",
        campaign_id="campaign.id",
        account_id="account_id",
        code=CODE,
        position="seq",
        status="IF(MOD(seq, 10), 'issued', 'void')",
        issued_at="campaign.closes_at - INTERVAL 1 DAY",
        expires_at="campaign.closes_at + INTERVAL 7 DAY",
    )
