"""`pessimistic`: `SELECT ... FOR UPDATE` on the campaign, one transaction for each request.

How: the textbook's row lock, taken before anything is read; at most 64 askers of a process stand at the
row, the others wait before it for 10 s at most; deadlocks and lock waits of 5 s are tried again, then 503.
Promises: exact; positions in the order in which the database grants the lock; needs no Redis.
Scales: one lock and one flush a coupon, some hundreds a second, and every asker pays for it.
Choose it: where a campaign's askers are few, or to compare with.
"""

from functools import lru_cache

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from shop.concurrency.concurrency_limit import ConcurrencyLimit
from shop.db import transactions

CAMPAIGNS = 1_024


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Wait for a place at the campaign's row, lock it, and be granted alone."""
    with _concurrency_limit(campaign_id).place():
        asker = IssueRequest(user_id)
        [outcome] = transactions.run(
            lambda: eligibility.lock_and_allocate(campaign_id=campaign_id, requests=[asker]),
            transactions.KEYED,
        )
    return eligibility.unwrap(outcome)


@lru_cache(maxsize=CAMPAIGNS)
def _concurrency_limit(campaign_id: int) -> ConcurrencyLimit:
    return ConcurrencyLimit(name=f"campaign {campaign_id}")
