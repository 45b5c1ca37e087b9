"""`pessimistic`: `SELECT ... FOR UPDATE` on the campaign, one transaction for each request.

How: a row lock, taken before anything is read; at most 64 requests of a process wait for the row, the others
wait in memory for 10 s at most; deadlocks and lock waits of 5 s are retried, then 503.
Promises: exact; positions in the order in which the database grants the lock; needs no Redis.
Scales: one lock and one flush for each request, also for refusals: some hundreds a second.
Choose it: where a campaign has few concurrent requests, or to compare.
"""

from functools import lru_cache

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from shop.concurrency.concurrency_limit import ConcurrencyLimit
from shop.db import transactions
from shop.lazy_texts import mark as _

CAMPAIGNS = 1_024


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Wait for the campaign's concurrency limit, lock its row, and decide this request alone."""
    with _concurrency_limit(campaign_id).permit():
        request = IssueRequest(user_id)
        [outcome] = transactions.run(
            lambda: eligibility.lock_and_allocate(campaign_id=campaign_id, requests=[request]),
            transactions.KEYED,
        )
    return eligibility.unwrap(outcome)


@lru_cache(maxsize=CAMPAIGNS)
def _concurrency_limit(campaign_id: int) -> ConcurrencyLimit:
    return ConcurrencyLimit(name=_("campaign {campaign_id}", campaign_id=campaign_id))
