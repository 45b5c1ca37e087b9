"""The strategies for concurrent requests for one campaign: one module each, all with the same signature.

Each allocates a slot to one account, as `coupons.issuing.issue` promises; the campaign exists. The
slot is a coupon, or pending confirmation if the campaign has a partner, which no strategy calls: no lock is
held during that call. `queue` returns a ticket instead.
"""

from functools import lru_cache

from coupons import CAMPAIGNS_AT_ONCE
from coupons.allocation import allocating
from coupons.allocation.allocating import Applicants
from foundation.concurrency.batching import Batcher
from foundation.concurrency.hot_rows import MAX_CONCURRENT, ConcurrencyLimit
from foundation.db import transactions
from foundation.lazy_texts import mark

# A read takes a millisecond, in which few other requests arrive.
LOOKUP_INTERVAL_SECONDS = 0.01


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def lookup_batcher(campaign_id: int) -> Batcher[int, Applicants]:
    """The batcher whose requests read the campaign and their account's coupon."""
    return Batcher(
        lambda user_ids: [allocating.read_campaign(campaign_id, set(user_ids))] * len(user_ids),
        name="coupon_lookups",
        run=transactions.read,
        min_interval_seconds=LOOKUP_INTERVAL_SECONDS,
    )


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def concurrency_limit(campaign_id: int, most: int = MAX_CONCURRENT) -> ConcurrencyLimit:
    """The limit of requests of this process that wait for the campaign's row."""
    return ConcurrencyLimit(name=mark("campaign {campaign_id}", campaign_id=campaign_id), max_concurrent=most)
