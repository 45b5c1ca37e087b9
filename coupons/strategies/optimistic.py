"""`optimistic`: read without a lock, and write only if the campaign's version has not changed since.

The request that comes second retries after a pause with full jitter. Exact; no order of arrival at all, and
after 50 retries 409 `conflict`; at a hot campaign most of the work is discarded; needs no Redis.
"""

from prometheus_client import Counter

from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import AllocationResult, IssueRequest, Slot
from coupons.strategies import concurrency_limit
from foundation.concurrency import hot_rows
from foundation.db import transactions
from foundation.lazy_texts import mark

RETRIES = Counter(
    "firstcome_campaign_conflicts",
    "Requests that were retried, because their campaign changed between read and write.",
)


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Retry until the campaign stays unchanged from the read to the write."""
    request = IssueRequest(user_id)
    outcome = hot_rows.retry_until_unchanged(
        lambda: transactions.run(lambda: _decide(campaign_id, request), transactions.KEYED),
        concurrency_limit=concurrency_limit(campaign_id, hot_rows.MAX_OPTIMISTIC),
        retries=RETRIES,
        wanted=mark("this campaign's coupons"),
    )
    return outcomes.unwrap(outcome)


def _decide(campaign_id: int, request: IssueRequest) -> AllocationResult:
    """Decide by the campaign as it is read; its version is read first, so any later change is detected."""
    applicants = allocating.read_campaign(campaign_id, [request.user_id])
    return allocating.allocate(applicants, [request], if_unchanged=True)[0]
