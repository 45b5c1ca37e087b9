"""Locks a campaign, and reads the coupons of some accounts by the same statement."""

from collections.abc import Collection

from django.db import connection

from coupons.models import Campaign, Coupon
from shop.db import bulk_sql, open_transaction

# Only the inner SELECT locks: an order that holds a coupon does not delay requests for the campaign. The
# coupons are read after the lock is granted, so they include those of the transaction that held it before.
READ = """
SELECT {campaign}, {coupon} FROM (SELECT * FROM coupons_campaign WHERE id = {id:d}{for_update}) campaign
LEFT JOIN coupons_coupon coupon ON coupon.campaign_id = campaign.id AND coupon.account_id IN ({accounts})
"""


def lock(campaign_id: int, user_ids: Collection[int]) -> tuple[Campaign, dict[int, Coupon]]:
    """The campaign, locked until the transaction ends, and the coupons of these accounts, by account.

    Raises `Campaign.DoesNotExist`.
    """
    open_transaction.assert_inside()
    return _read(campaign_id, user_ids, bulk_sql.for_update())


def read_without_lock(campaign_id: int, user_ids: Collection[int]) -> tuple[Campaign, dict[int, Coupon]]:
    """The campaign and these accounts' coupons without a lock, as they were at one instant."""
    return _read(campaign_id, user_ids, "")


def _read(campaign_id: int, user_ids: Collection[int], for_update: str) -> tuple[Campaign, dict[int, Coupon]]:
    campaigns, coupons = (
        bulk_sql.columns_of(Campaign, alias="campaign"),
        bulk_sql.columns_of(Coupon, alias="coupon"),
    )
    statement = READ.format(
        campaign=campaigns.selected,
        coupon=coupons.selected,
        id=campaign_id,
        for_update=for_update,
        accounts=bulk_sql.integer_list(user_ids),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall()
    if not found:
        raise Campaign.DoesNotExist(f"There is no campaign {campaign_id}.")
    width = len(campaigns.names)
    campaign = campaigns.to_model(found[0][:width])
    existing = [coupons.to_model(row[width:]) for row in found if row[width] is not None]
    for coupon in existing:
        coupon.campaign = campaign
    return campaign, {coupon.account_id: coupon for coupon in existing}
