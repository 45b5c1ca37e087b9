"""`pessimistic`: the ORM's `select_for_update()` on the campaign, one transaction for each request.

Exact; positions in the order in which the database grants the lock; one lock and one flush for each request,
also for refusals; needs no Redis.
"""

from coupons.allocation import allocating, outcomes
from coupons.allocation.allocating import Applicants
from coupons.allocation.outcomes import AllocationResult, IssueRequest, Slot
from coupons.models import Campaign
from coupons.strategies import concurrency_limit
from foundation.db import transactions


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Wait for the campaign's concurrency limit, lock its row, and decide this request alone."""
    with concurrency_limit(campaign_id).permit():
        request = IssueRequest(user_id)
        outcome = transactions.run(lambda: _decide(campaign_id, request), transactions.KEYED)
    return outcomes.unwrap(outcome)


def _decide(campaign_id: int, request: IssueRequest) -> AllocationResult:
    """Decide by what is read under the lock: nothing of it changes before the transaction ends."""
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    return allocating.allocate(Applicants(campaign, [request.user_id]), [request])[0]
