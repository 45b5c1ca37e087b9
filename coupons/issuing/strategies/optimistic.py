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
from coupons.allocation.eligibility import Outcome
from coupons.allocation.writes import Asker, Chosen, Confirming, Issued
from coupons.models import Campaign
from shop.concurrency import optimistic
from shop.concurrency.concurrency_limit import Admission
from shop.db import transactions

RETRIES = Counter(
    "firstcome_campaign_conflicts",
    "Askers whose campaign changed between look and write, and who began again.",
)
CAMPAIGNS = 1_024


def issue(*, campaign_id: int, user_id: int) -> Issued | Confirming:
    """Try until the campaign stays as it was read, from the look to the write."""
    asker = Asker(user_id)
    outcome = optimistic.until_unchanged(
        lambda: transactions.run(lambda: _decided(campaign_id, asker), transactions.KEYED),
        admission=_admission(campaign_id),
        retries=RETRIES,
        wanted="this campaign's coupons",
    )
    return eligibility.told(outcome)


def _decided(campaign_id: int, asker: Asker) -> Outcome:
    """By the campaign as it is read; its version is read first, so that whatever comes after it tells."""
    campaign = Campaign.objects.get(pk=campaign_id)
    return eligibility.decide(campaign, [asker], choose=_choose, if_unchanged=True)[0]


def _choose(campaign: Campaign, askers: Sequence[Asker]) -> Chosen:
    """Codes of a pool only once the row is locked, as it was read.

    Codes that were locked while this waits for the row, and perhaps in vain, would be missing to whoever
    has it: they would find the pool empty that isn't.
    """
    if campaign.code_source == Campaign.CodeSource.POOL:
        unchanged = Campaign.objects.filter(pk=campaign.pk, version=campaign.version)
        if not unchanged.select_for_update().values_list("pk", flat=True):
            raise transactions.ChangedMeanwhile(f"campaign {campaign.pk} changed since it was read")
    return writes.choose_codes(campaign, askers)


@lru_cache(maxsize=CAMPAIGNS)
def _admission(campaign_id: int) -> Admission:
    return Admission(name=f"campaign {campaign_id}", at_the_row=optimistic.AT_THE_ROW)
