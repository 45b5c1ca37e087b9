"""Reads a campaign and an account's coupon without a lock; concurrent reads share one statement."""

from collections.abc import Sequence
from functools import lru_cache

from coupons.allocation import eligibility, locking
from coupons.models import Campaign, Confirmation, Coupon
from shop.concurrency.group_commit import Batcher
from shop.db import transactions

# The same number as `group_commit` has.
BATCHERS = 1_024
# A read takes a millisecond, in which few other requests arrive.
MIN_INTERVAL_SECONDS = 0.01

CampaignAndCoupon = tuple[Campaign, Coupon | Confirmation | None]


def read_campaign_and_coupon(*, campaign_id: int, user_id: int) -> CampaignAndCoupon:
    """The campaign and the account's coupon or confirmation, read after this call began.

    Raises `Campaign.DoesNotExist`, `Overloaded`, `Unavailable`.
    """
    return batcher(campaign_id).submit(user_id)


@lru_cache(maxsize=BATCHERS)
def batcher(campaign_id: int) -> Batcher[int, CampaignAndCoupon]:
    return Batcher(
        lambda user_ids: _read_many(campaign_id, user_ids),
        run=transactions.read,
        min_interval_seconds=MIN_INTERVAL_SECONDS,
    )


def _read_many(campaign_id: int, user_ids: Sequence[int]) -> list[CampaignAndCoupon]:
    campaign, coupons = locking.read_without_lock(campaign_id, set(user_ids))
    # A confirmation may become a coupon between two reads, so confirmations must be read first.
    existing = eligibility.existing_coupons(campaign, user_ids, coupons=None if campaign.partner else coupons)
    return [(campaign, existing.get(user_id)) for user_id in user_ids]
