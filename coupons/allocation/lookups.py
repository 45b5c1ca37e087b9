"""Looking: what an account has of a campaign, seen without a lock; those who look at once look together."""

from collections.abc import Sequence
from functools import lru_cache

from coupons.allocation import eligibility, locking
from coupons.models import Campaign, Confirmation, Coupon
from shop.concurrency.group_commit import Batcher
from shop.db import transactions

# As many as `group_commit` has.
BATCHERS = 1_024
# A look takes a millisecond, in which few others come.
MIN_INTERVAL_SECONDS = 0.01

CampaignAndCoupon = tuple[Campaign, Coupon | Confirmation | None]


def read_campaign_and_coupon(*, campaign_id: int, user_id: int) -> CampaignAndCoupon:
    """The campaign and what the account has of it, as they are after this was called.

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
    # A slot may become a coupon between two looks, and the slots must be looked at first.
    had = eligibility.existing_coupons(campaign, user_ids, coupons=None if campaign.partner else coupons)
    return [(campaign, had.get(user_id)) for user_id in user_ids]
