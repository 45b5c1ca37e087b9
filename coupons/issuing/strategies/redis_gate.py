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
from coupons.allocation.eligibility import Outcome
from coupons.allocation.writes import Asker, Confirming, Issued
from coupons.gate import filling, gate
from coupons.gate.gate import FULL, MEMBER, NOT_OPEN, UNKNOWN, Verdict
from coupons.models import Campaign
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.errors import Unavailable

BATCHERS = 1_024
# How often to ask again when the gate knew nothing: somebody may be dropping it at this moment.
LOOKS = 3


@dataclass(frozen=True, slots=True)
class Comer:
    """Who comes to the database, and with which ticket, if any."""

    asker: Asker
    verdict: Verdict


def issue(*, campaign_id: int, user_id: int) -> Issued | Confirming:
    """Pass the gate and join the campaign's batcher, or be told at the gate."""
    try:
        verdict = _ask(campaign_id, user_id)
    except Unavailable as away:
        return eligibility.told(_had_before(Campaign.objects.get(pk=campaign_id), user_id) or away)
    if verdict.says in (MEMBER, FULL, NOT_OPEN):
        outcome = _outcome_at_the_gate(campaign_id, user_id, verdict)
        if outcome is not None:
            return eligibility.told(outcome)
    try:
        return _batcher(campaign_id).submit(Comer(Asker(user_id), verdict))
    except BaseException:
        if verdict.ticket:
            gate.give_back(campaign_id=campaign_id, tickets={user_id: verdict.ticket})
        raise


def _ask(campaign_id: int, user_id: int) -> Verdict:
    """What the gate says; it knows nothing while another thread fills it, and then the database decides."""
    for _ in range(LOOKS):
        verdict = gate.ask(campaign_id=campaign_id, user_id=user_id)
        if verdict.says != UNKNOWN or not filling.fill(campaign_id=campaign_id):
            break
    return verdict


def _outcome_at_the_gate(campaign_id: int, user_id: int, verdict: Verdict) -> Outcome | None:
    """What the account has, whatever the gate says, or the refusal; two reads without a lock.

    None when the database knows better than the gate: a member that has nothing, or other times.
    """
    campaign = Campaign.objects.get(pk=campaign_id)
    owed = _had_before(campaign, user_id)
    if owed is not None:
        return owed
    if verdict.says == MEMBER:
        gate.remove_member(campaign_id=campaign_id, user_id=user_id)
        return None
    full = eligibility.sold_out(campaign) if verdict.says == FULL else None
    return eligibility.refusal(campaign, clock.now()) or full


def _had_before(campaign: Campaign, user_id: int) -> Outcome | None:
    """What the account is owed that has something of the campaign."""
    had = eligibility.had_before(campaign, [user_id]).get(user_id)
    return eligibility.owed(campaign, had) if had else None


def _decide(campaign_id: int, comers: Sequence[Comer]) -> list[Outcome]:
    """Grant in the order of admission; once that is committed, none of them is in flight any more."""
    in_order = sorted(range(len(comers)), key=lambda place: comers[place].verdict.number)
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    granted = eligibility.decide(campaign, [comers[place].asker for place in in_order])
    outcomes = dict(zip(in_order, granted, strict=True))
    decided = [(comer, outcomes[place]) for place, comer in enumerate(comers)]
    members = {comer.asker.user_id for comer, outcome in decided if isinstance(outcome, Issued | Confirming)}
    refused = {
        comer.asker.user_id: comer.verdict.ticket
        for comer, _ in decided
        if comer.verdict.ticket and comer.asker.user_id not in members
    }
    transaction.on_commit(lambda: gate.settle(campaign, members=members, refused=refused))
    return [outcome for _, outcome in decided]


@lru_cache(maxsize=BATCHERS)
def _batcher(campaign_id: int) -> Batcher[Comer, Issued | Confirming]:
    return Batcher(lambda comers: _decide(campaign_id, comers))
