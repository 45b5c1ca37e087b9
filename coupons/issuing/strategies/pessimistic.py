"""`pessimistic`: `SELECT ... FOR UPDATE` on the campaign, one transaction for each request.

Exact; positions in the order in which the database grants the lock; one lock and one flush for each request,
also for refusals; needs no Redis.
"""

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from coupons.issuing.strategies import concurrency_limit
from shop.db import transactions


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Wait for the campaign's concurrency limit, lock its row, and decide this request alone."""
    with concurrency_limit(campaign_id).permit():
        request = IssueRequest(user_id)
        [outcome] = transactions.run(
            lambda: eligibility.lock_and_allocate(campaign_id=campaign_id, requests=[request]),
            transactions.KEYED,
        )
    return eligibility.unwrap(outcome)
