"""`group_commit`: whoever asks while a transaction is open shares the next one. The default.

How: a batcher per campaign and process; its leader locks the campaign's row once and grants all that wait.
Promises: exact; positions in order of arrival within a process; needs no Redis.
Scales: one lock and one flush a batch, so the hotter the campaign, the cheaper each coupon.
"""

from functools import lru_cache

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from shop.concurrency.group_commit import Batcher

# Campaigns with a batcher at once. Should a busy one be dropped it gets a second one: the row's lock decides.
BATCHERS = 1_024
# Without it the first request after a batch is decided alone time and again, and all others share the next.
MIN_INTERVAL_SECONDS = 0.01


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Join the campaign's batcher, and return with its outcome."""
    return batcher(campaign_id).submit(IssueRequest(user_id))


@lru_cache(maxsize=BATCHERS)
def batcher(campaign_id: int) -> Batcher[IssueRequest, Issued | PendingConfirmation]:
    return Batcher(
        lambda requests: eligibility.lock_and_allocate(campaign_id=campaign_id, requests=requests),
        min_interval_seconds=MIN_INTERVAL_SECONDS,
        rows_of=lambda request: eligibility.locked_rows(campaign_id, request),
    )
