"""`group_commit`: requests that arrive while a transaction is open share the next one. The default.

A batcher per campaign and process locks the campaign's row once and decides all that wait. Exact; positions
in order of arrival within a process; the hotter the campaign, the cheaper each coupon; needs no Redis.
"""

from functools import lru_cache, partial

from coupons import CAMPAIGNS_AT_ONCE
from coupons.allocation import allocating
from coupons.allocation.outcomes import IssueRequest, Slot
from foundation.concurrency.batching import Batcher

# Without it the first request after each batch is decided alone, and all others share the next batch.
MIN_INTERVAL_SECONDS = 0.01


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Submit the request to the campaign's batcher, and return its result."""
    return batcher(campaign_id).submit(IssueRequest(user_id))


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def batcher(campaign_id: int) -> Batcher[IssueRequest, Slot]:
    return Batcher(
        lambda requests: allocating.lock_and_allocate(campaign_id=campaign_id, requests=requests),
        name="coupons",
        min_interval_seconds=MIN_INTERVAL_SECONDS,
        rows_of=partial(allocating.locked_rows, campaign_id),
    )
