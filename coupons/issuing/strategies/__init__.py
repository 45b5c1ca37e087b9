"""The strategies for concurrent requests for one campaign: one module each, all with the same signature."""

from functools import lru_cache
from typing import Protocol

from coupons import CAMPAIGNS_AT_ONCE
from coupons.allocation.writes import Issued, PendingConfirmation, Queued
from shop.concurrency.hot_rows import MAX_CONCURRENT, ConcurrencyLimit
from shop.lazy_texts import mark as _


class Strategy(Protocol):
    """Allocates a slot to one account, as `coupons.issuing.issuing.issue` promises. The campaign exists.

    The slot is a coupon, or pending confirmation if the campaign has a partner. The strategy doesn't call the
    partner, so that no lock is held during the call. `queue` returns a ticket instead.
    """

    def __call__(self, *, campaign_id: int, user_id: int) -> Issued | PendingConfirmation | Queued: ...


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def concurrency_limit(campaign_id: int, most: int = MAX_CONCURRENT) -> ConcurrencyLimit:
    """The limit of requests of this process that wait for the campaign's row."""
    return ConcurrencyLimit(name=_("campaign {campaign_id}", campaign_id=campaign_id), max_concurrent=most)
