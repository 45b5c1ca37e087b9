"""`conditional_update`: one UPDATE that counts a slot only if one is left and the campaign issues to the
account.

It locks the row, so the count that is read after it is the position, and the coupon is written under that
lock. Exact; one lock and one flush for each coupon, none for a refusal or a repeat; needs no Redis.
"""

from datetime import datetime
from functools import partial

from django.db import IntegrityError
from django.db.models import F

from coupons import eligibility, rows
from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import AllocationResult, IssueRequest, Slot
from coupons.models import Campaign
from coupons.strategies import concurrency_limit
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.lazy_texts import mark


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Wait for the campaign's concurrency limit, count a slot on its row, and write the coupon."""
    decide = partial(_decide, campaign_id, IssueRequest(user_id))
    with concurrency_limit(campaign_id).permit():
        try:
            outcome = transactions.run(decide, transactions.KEYED)
        except IntegrityError:
            # Two concurrent requests of one account: the unique key refuses the second, whose count is rolled
            # back with it, and a second attempt finds the first one's coupon. Any other error comes again.
            outcome = transactions.run(decide, transactions.KEYED)
    return outcomes.unwrap(outcome)


def _decide(campaign_id: int, request: IssueRequest) -> AllocationResult:
    """The account's existing coupon or refusal, read without a lock; else what the guarded UPDATE decides."""
    user_id = request.user_id
    seen = allocating.read_campaign(campaign_id, [user_id])
    answer = seen.answer(user_id)
    if answer:
        return answer
    column = "confirming" if seen.campaign.partner else "issued"
    issuable = Campaign.objects.filter(
        rows.issues_at(seen.now), rows.lets_in(user_id), pk=campaign_id, partner=seen.campaign.partner
    )
    # The row is locked if a slot was left and is counted.
    if issuable.update(**{column: F(column) + 1}, version=F("version") + 1):
        return _write_slot(Campaign.objects.get(pk=campaign_id), request, seen.now)
    # A slot may have been released since.
    return allocating.read_campaign(campaign_id, [user_id]).answer(user_id) or Rejected(
        mark("{campaign} has changed just now; nothing was done.", campaign=seen.campaign.name),
        code="conflict",
        retry_after=1,
    )


def _write_slot(campaign: Campaign, request: IssueRequest, now: datetime) -> AllocationResult:
    """Write the coupon or confirmation of the slot: the last one counted on this copy of the locked row."""
    # A partner may have confirmed the account's slot since it was read. No constraint keeps an account from
    # having a coupon and a confirmation: the row's lock does.
    existing = rows.existing_coupons(campaign, [request.user_id]) if campaign.partner else {}
    if existing:
        rows.count_taken_slots(campaign, -1)
        return outcomes.existing_result(existing[request.user_id])
    user_id = request.user_id
    chosen = allocating.assign_codes(campaign, [request])
    if not chosen:
        # Raised rather than returned, so that the count is rolled back.
        raise eligibility.sold_out(campaign.name)
    return allocating.write_slots(campaign, chosen, by={user_id: request.by}, now=now)[user_id]
