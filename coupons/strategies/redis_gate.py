"""`redis_gate`: one Lua call admits a request, or finds that its account is a member or all slots are taken.

Exact, because the gate may refuse but never issues: an admitted request is written by group commit. It
releases its slot when it is refused or fails, and the sweep those of crashed processes; so a slot may become
free after a request was refused. Without Redis, accounts that have their coupon get it from the database and
all others get 503; after a flush the gate is filled again. Positions follow the admission numbers within a
batch.
"""

import sys
from collections.abc import Sequence
from functools import lru_cache

from django.db import transaction

from coupons import CAMPAIGNS_AT_ONCE, eligibility, gate
from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import AllocationResult, IssueRequest, Slot
from coupons.gate import FULL, MEMBER, NOT_OPEN, UNKNOWN, GateDecision
from coupons.models import Campaign
from foundation.concurrency.batching import Batcher
from foundation.errors import Unavailable
from foundation.redis import gates


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Ask the gate, then submit the request to the campaign's batcher unless the gate answers it."""
    try:
        # Unknown while another thread fills the gate, and then the database decides.
        decision = gates.ask(
            lambda: gate.admit(campaign_id=campaign_id, user_id=user_id),
            fill=lambda decision: decision.says == UNKNOWN and gate.fill(campaign_id=campaign_id),
        )
    except Unavailable as away:
        existing = allocating.read_campaign(campaign_id, [user_id]).existing.get(user_id)
        return outcomes.unwrap(outcomes.existing_result(existing) if existing else away)
    if decision.says in (MEMBER, FULL, NOT_OPEN):
        outcome = _result_at_gate(campaign_id, user_id, decision)
        if outcome is not None:
            return outcomes.unwrap(outcome)
    try:
        return _batcher(campaign_id).submit(IssueRequest(user_id, ticket=decision.ticket))
    except BaseException:
        if decision.ticket:
            gate.release_slots(campaign_id=campaign_id, tickets={user_id: decision.ticket})
        raise


def _result_at_gate(campaign_id: int, user_id: int, decision: GateDecision) -> AllocationResult | None:
    """The account's existing coupon, whatever the gate's decision, or the refusal; read without a lock.

    None when the database contradicts the gate. Where accounts are listed a full gate refuses no listed one:
    others, whom the database will refuse, may be in flight in the last slots.
    """
    applicants = allocating.read_campaign(campaign_id, [user_id])
    campaign = applicants.campaign
    if decision.says == MEMBER and user_id not in applicants.existing:
        gate.remove_member(campaign_id=campaign_id, user_id=user_id)
        return None
    is_full = decision.says == FULL and campaign.eligible == Campaign.Eligible.ALL
    return applicants.answer(user_id) or (eligibility.sold_out(campaign.name) if is_full else None)


def _allocate(campaign_id: int, requests: Sequence[IssueRequest]) -> list[AllocationResult]:
    """Decide in the order of admission, and others last; after the commit none of these is in flight."""
    in_order = sorted(requests, key=lambda one: int(one.ticket.partition(":")[0] or sys.maxsize))
    applicants = allocating.lock_campaign(campaign_id, {one.user_id for one in requests})
    decided = allocating.allocate(applicants, in_order)
    result_of = dict(zip(map(id, in_order), decided, strict=True))
    results = [result_of[id(one)] for one in requests]
    members = {one.user_id for one, result in zip(requests, results, strict=True) if isinstance(result, Slot)}
    refused = {one.user_id: one.ticket for one in requests if one.ticket and one.user_id not in members}
    transaction.on_commit(lambda: gate.record_results(applicants.campaign, members=members, refused=refused))
    return results


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _batcher(campaign_id: int) -> Batcher[IssueRequest, Slot]:
    return Batcher(lambda requests: _allocate(campaign_id, requests), name="coupons_redis_gate")
