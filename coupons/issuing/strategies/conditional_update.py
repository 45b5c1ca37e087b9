"""`conditional_update`: one UPDATE that counts a slot only where there is one left.

How: `UPDATE ... SET issued = issued + 1 WHERE issued + confirming < quantity`, and the campaign is open; it
locks the row, so the count that is read after it is the position, and the coupon is written below that lock.
Promises: exact; positions in the order in which the database grants the lock; needs no Redis.
Scales: one lock and one flush a coupon, as `pessimistic`, but none for a refusal or a repeated request.
Choose it: where a campaign's askers are few and many of them come again, or to compare with.
"""

from datetime import datetime
from functools import lru_cache

from django.db import IntegrityError
from django.db.models import F, Q

from coupons.allocation import eligibility, writes
from coupons.allocation.eligibility import AllocationResult
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign
from shop import clock
from shop.concurrency.concurrency_limit import ConcurrencyLimit
from shop.db import transactions
from shop.errors import Rejected

CAMPAIGNS = 1_024


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Wait for a place at the campaign's row, count a slot there, and write what was counted."""
    asker = IssueRequest(user_id)
    with _concurrency_limit(campaign_id).place():
        try:
            outcome = transactions.run(lambda: _decide(campaign_id, asker), transactions.KEYED)
        except IntegrityError:
            # The account asked twice at once: the unique key has refused the second, whose count is rolled
            # back with it, and who looks again finds the first's. What else is wrong is wrong again.
            outcome = transactions.run(lambda: _decide(campaign_id, asker), transactions.KEYED)
    return eligibility.unwrap(outcome)


def _decide(campaign_id: int, request: IssueRequest) -> AllocationResult:
    """What the account has, or is refused, seen without a lock; or else what the guarded UPDATE says."""
    now = clock.now()
    seen = Campaign.objects.get(pk=campaign_id)
    had = eligibility.existing_coupons(seen, [request.user_id]).get(request.user_id)
    answer = eligibility.existing_result_or_refusal(seen, had, now)
    if answer:
        return answer
    is_counted = _count_slot(seen, now)
    campaign = Campaign.objects.get(pk=campaign_id)
    return _write_slot(campaign, request, now) if is_counted else _refusal(campaign, now)


def _count_slot(campaign: Campaign, now: datetime) -> bool:
    """Count one slot if one is left and the campaign is open; its row is locked then."""
    column = "confirming" if campaign.partner else "issued"
    there = Campaign.objects.filter(
        Q(closes_at__isnull=True) | Q(closes_at__gt=now),
        pk=campaign.pk,
        partner=campaign.partner,
        opens_at__lte=now,
        quantity__gt=F("issued") + F("confirming"),
    )
    return bool(there.update(**{column: F(column) + 1}, version=F("version") + 1))


def _write_slot(campaign: Campaign, request: IssueRequest, now: datetime) -> AllocationResult:
    """Write what the slot is filled with, the last one counted on this copy of the locked row."""
    # A partner may have agreed to the account's slot since the look. No key of the database holds a
    # coupon against a confirmation: the row's lock does.
    had = eligibility.existing_coupons(campaign, [request.user_id]) if campaign.partner else {}
    if had:
        writes.count_taken_slots(campaign, -1)
        return eligibility.existing_result(campaign, had[request.user_id])
    chosen = writes.assign_codes(campaign, [request])
    if not chosen:
        # Raised rather than returned: the count is rolled back.
        raise eligibility.sold_out(campaign)
    return writes.write_slots(campaign, chosen, by={request.user_id: request.by}, now=now)[request.user_id]


def _refusal(campaign: Campaign, now: datetime) -> Rejected:
    """Why nothing was counted; perhaps a slot has come back since."""
    return eligibility.refusal(campaign, now) or Rejected(
        f"{campaign.name} has changed just now; nothing was done.", code="conflict", retry_after=1
    )


@lru_cache(maxsize=CAMPAIGNS)
def _concurrency_limit(campaign_id: int) -> ConcurrencyLimit:
    return ConcurrencyLimit(name=f"campaign {campaign_id}")
