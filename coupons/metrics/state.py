"""The state of campaigns for metrics, read every few seconds: what running campaigns have left, and the
newest rows for what must never be. `coupons.audit` checks all rows.
"""

from coupons.models import Campaign
from foundation import clock
from foundation.db import bulk_sql
from foundation.observability.gauges import Readings

QUANTITY = "firstcome_campaign_quantity"
ISSUED = "firstcome_campaign_issued"
CODES_LEFT = "firstcome_pool_codes_left"
HELPS = {
    QUANTITY: "Coupons that each of the running campaigns that opened last can issue, as it has codes; "
    "none for everybody's.",
    ISSUED: "Coupons issued of each of these campaigns.",
    CODES_LEFT: "Codes left in the pool of each of these campaigns that has one.",
}
MOST_RUNNING = 50
NEWEST = 1_000
# A coupon of the newest ones with another of its account has a duplicate; both unique keys are used.
COUNT_DUPLICATES = """
SELECT COUNT(*) FROM (
    SELECT newest.id FROM (SELECT id, quantity, issued FROM coupons_campaign ORDER BY id DESC LIMIT %s) newest
    WHERE newest.issued > newest.quantity
    OR (SELECT MAX(coupon.position) FROM coupons_coupon coupon WHERE coupon.campaign_id = newest.id)
        > newest.quantity
    UNION
    SELECT newest.campaign_id
    FROM (SELECT id, campaign_id, account_id FROM coupons_coupon ORDER BY id DESC LIMIT %s) newest
    WHERE EXISTS (
        SELECT 1 FROM coupons_coupon other WHERE other.account_id = newest.account_id
        AND other.campaign_id = newest.campaign_id AND other.id <> newest.id
    )
) broken
"""


def read_running() -> Readings:
    campaigns = running()
    pools = [one for one in campaigns if one.code_source == Campaign.CodeSource.POOL]
    return {
        QUANTITY: {str(one.pk): one.capacity for one in campaigns if one.capacity is not None},
        ISSUED: {str(one.pk): one.issued for one in campaigns},
        CODES_LEFT: {str(one.pk): one.codes_added - one.issued - one.confirming for one in pools},
    }


def duplicates() -> int:
    """How many campaigns have issued too much: more than their quantity, or two coupons to an account.

    It sees the 1,000 newest campaigns, and of the accounts those with one of the 1,000 newest coupons.
    """
    [[number]] = bulk_sql.fetch(COUNT_DUPLICATES, [NEWEST, NEWEST])
    return int(number)


def running() -> list[Campaign]:
    """The 50 campaigns that opened last of those that are open, paused or sold out, the latest first."""
    now = clock.now()
    running = Campaign.objects.filter(Campaign.not_closed_at(now), opens_at__lte=now)
    return list(running.order_by("-opens_at", "-id")[:MOST_RUNNING])
