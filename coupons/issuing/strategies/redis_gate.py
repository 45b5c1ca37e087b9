"""`redis_gate`: one Lua call admits, or tells who is a member and that all places are taken.

How: members and who is in flight are counted in Redis; whoever is admitted is written by group commit, and is
then a member. What is refused, fails or dies on the way gives its place back, the dead's by the next sweep.
Promises: exact, for the gate may refuse and never grant; without Redis 503, flushed it fills itself again.
Order: positions follow the numbers of admission within a batch; what comes later from the gate to the batcher
is a batch later, and batches of several processes come as the database lets them.
Choose it: when far more ask than there is, and even the last moment's refusals have to be cheap. Others pay
two calls to Redis for it; and who is refused while others are in flight may see one of those fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.db import transaction

from coupons.allocation import eligibility
from coupons.allocation.eligibility import AllocationResult
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from coupons.gate import filling, gate
from coupons.gate.gate import FULL, MEMBER, NOT_OPEN, UNKNOWN, GateDecision
from coupons.models import Campaign
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.errors import Unavailable

BATCHERS = 1_024
# How often to ask again when the gate knew nothing: somebody may be dropping it at this moment.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class GateRequest:
    """Who comes to the database, and with which ticket, if any."""

    request: IssueRequest
    verdict: GateDecision


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Pass the gate and join the campaign's batcher, or be told at the gate."""
    try:
        verdict = _ask_gate(campaign_id, user_id)
    except Unavailable as away:
        return eligibility.unwrap(_existing_result(Campaign.objects.get(pk=campaign_id), user_id) or away)
    if verdict.says in (MEMBER, FULL, NOT_OPEN):
        outcome = _result_at_gate(campaign_id, user_id, verdict)
        if outcome is not None:
            return eligibility.unwrap(outcome)
    try:
        return _batcher(campaign_id).submit(GateRequest(IssueRequest(user_id), verdict))
    except BaseException:
        if verdict.ticket:
            gate.release_places(campaign_id=campaign_id, tickets={user_id: verdict.ticket})
        raise


def _ask_gate(campaign_id: int, user_id: int) -> GateDecision:
    """What the gate says; it knows nothing while another thread fills it, and then the database decides."""
    for _ in range(ATTEMPTS):
        verdict = gate.admit(campaign_id=campaign_id, user_id=user_id)
        if verdict.says != UNKNOWN or not filling.fill(campaign_id=campaign_id):
            break
    return verdict


def _result_at_gate(campaign_id: int, user_id: int, verdict: GateDecision) -> AllocationResult | None:
    """What the account has, whatever the gate says, or the refusal; two reads without a lock.

    None when the database knows better than the gate: a member that has nothing, or other times.
    """
    campaign = Campaign.objects.get(pk=campaign_id)
    owed = _existing_result(campaign, user_id)
    if owed is not None:
        return owed
    if verdict.says == MEMBER:
        gate.remove_member(campaign_id=campaign_id, user_id=user_id)
        return None
    full = eligibility.sold_out(campaign) if verdict.says == FULL else None
    return eligibility.refusal(campaign, clock.now()) or full


def _existing_result(campaign: Campaign, user_id: int) -> AllocationResult | None:
    """What the account is owed that has something of the campaign."""
    had = eligibility.existing_coupons(campaign, [user_id]).get(user_id)
    return eligibility.existing_result(campaign, had) if had else None


def _allocate(campaign_id: int, requests: Sequence[GateRequest]) -> list[AllocationResult]:
    """Grant in the order of admission; once that is committed, none of them is in flight any more."""
    in_order = sorted(range(len(requests)), key=lambda place: requests[place].verdict.number)
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    granted = eligibility.allocate(campaign, [requests[place].request for place in in_order])
    outcomes = dict(zip(in_order, granted, strict=True))
    decided = [(comer, outcomes[place]) for place, comer in enumerate(requests)]
    members = {
        comer.request.user_id
        for comer, outcome in decided
        if isinstance(outcome, Issued | PendingConfirmation)
    }
    refused = {
        comer.request.user_id: comer.verdict.ticket
        for comer, _ in decided
        if comer.verdict.ticket and comer.request.user_id not in members
    }
    transaction.on_commit(lambda: gate.record_results(campaign, members=members, refused=refused))
    return [outcome for _, outcome in decided]


@lru_cache(maxsize=BATCHERS)
def _batcher(campaign_id: int) -> Batcher[GateRequest, Issued | PendingConfirmation]:
    return Batcher(lambda requests: _allocate(campaign_id, requests))
