"""`optimistic`: read without a lock, and write only if nobody else has written since.

How: the campaign carries a version that every change counts up; the UPDATE asks for the version that was
read, and who comes second begins again, after a pause with full jitter.
Promises: exact; no order of arrival at all, and after `OPTIMISTIC_RETRIES` 409 `conflict`; needs no Redis.
Scales: badly where it matters: at one hot row most of the work is done in vain, as its counter tells.
Choose it: for a campaign whose askers come one by one, or to compare.
"""

from collections.abc import Sequence
from functools import lru_cache

from prometheus_client import Counter

from coupons.allocation import eligibility, writes
from coupons.allocation.eligibility import AllocationResult
from coupons.allocation.writes import AssignedCodes, Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign
from shop.concurrency import optimistic
from shop.concurrency.concurrency_limit import ConcurrencyLimit
from shop.db import transactions

RETRIES = Counter(
    "firstcome_campaign_conflicts",
    "Askers whose campaign changed between look and write, and who began again.",
)
CAMPAIGNS = 1_024


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Try until the campaign stays as it was read, from the look to the write."""
    asker = IssueRequest(user_id)
    outcome = optimistic.retry_until_unchanged(
        lambda: transactions.run(lambda: _decide(campaign_id, asker), transactions.KEYED),
        concurrency_limit=_concurrency_limit(campaign_id),
        retries=RETRIES,
        wanted="this campaign's coupons",
    )
    return eligibility.unwrap(outcome)


def _decide(campaign_id: int, request: IssueRequest) -> AllocationResult:
    """By the campaign as it is read; its version is read first, so that whatever comes after it tells."""
    campaign = Campaign.objects.get(pk=campaign_id)
    return eligibility.allocate(campaign, [request], choose=_assign_codes, if_unchanged=True)[0]


def _assign_codes(campaign: Campaign, requests: Sequence[IssueRequest]) -> AssignedCodes:
    """Codes of a pool only once the row is locked, as it was read.

    Codes that were locked while this waits for the row, and perhaps in vain, would be missing to whoever
    has it: they would find the pool empty that isn't.
    """
    if campaign.code_source == Campaign.CodeSource.POOL:
        unchanged = Campaign.objects.filter(pk=campaign.pk, version=campaign.version)
        if not unchanged.select_for_update().values_list("pk", flat=True):
            raise transactions.ChangedMeanwhile(f"campaign {campaign.pk} changed since it was read")
    return writes.assign_codes(campaign, requests)


@lru_cache(maxsize=CAMPAIGNS)
def _concurrency_limit(campaign_id: int) -> ConcurrencyLimit:
    return ConcurrencyLimit(name=f"campaign {campaign_id}", max_concurrent=optimistic.MAX_CONCURRENT)
