"""`code_pool`: codes are made ahead, listed in Redis, and each asker takes the next one from there.

How: `LMOVE` into a list of what is in flight; the batcher's leader locks the campaign and the batch's codes,
and gives those that the database calls available; the caller acknowledges after the commit, the sweeper
puts back what the dead took. Who brings nothing, or a code that is given, gets the pool's oldest instead.
Promises: exact, a code once, none lost; positions in order of arrival within a process. Without Redis it
gives nothing (503), flushed it lists the pool again; the same pool under another strategy needs no Redis.
Scales: as `group_commit`, and two calls to Redis more; choose it where codes come from elsewhere, and
nobody is to search the pool for the next free one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from django.db import IntegrityError

from coupons import pool
from coupons.allocation import eligibility, writes
from coupons.allocation.eligibility import AllocationResult
from coupons.allocation.writes import AssignedCodes, Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign
from coupons.pool_list import pool_list
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.errors import Overloaded, Rejected

# As many as `group_commit` has.
BATCHERS = 1_024


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """An asker and the code that they took; None when the list had none."""

    request: IssueRequest
    code: str | None


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Take a code, bring it to the campaign's batcher, and say then whether it is spent.

    Raises `Unavailable` without Redis. When the outcome isn't known, the code stays in flight.
    """
    looked = _lookup_batcher(campaign_id).submit(user_id)
    if not isinstance(looked, Campaign):
        return looked
    code = pool_list.claim_code(looked, user_id=user_id)
    try:
        outcome = _batcher(campaign_id).submit(PoolRequest(IssueRequest(user_id), code))
    except (Rejected, Overloaded, IntegrityError):
        _resolve_code(campaign_id, user_id, code, is_spent=False)
        raise
    # Whoever got another code than they took had taken one that was given.
    _resolve_code(campaign_id, user_id, code, is_spent=outcome.is_new or _code_of(outcome) == code)
    return outcome


def _code_of(outcome: Issued | PendingConfirmation) -> str:
    return outcome.coupon.code if isinstance(outcome, Issued) else outcome.code


def _resolve_code(campaign_id: int, user_id: int, code: str | None, *, is_spent: bool) -> None:
    if code is not None:
        pool_list.resolve_code(campaign_id, user_id=user_id, code=code, is_spent=is_spent)


@lru_cache(maxsize=BATCHERS)
def _lookup_batcher(campaign_id: int) -> Batcher[int, Issued | PendingConfirmation | Campaign]:
    """Who has something of the campaign already, or can't have anything, takes no code: asked together."""
    return Batcher(lambda user_ids: _read_existing(campaign_id, user_ids))


def _read_existing(campaign_id: int, user_ids: Sequence[int]) -> list[AllocationResult | Campaign]:
    """What each is owed or refused by now; those who may take a code get the campaign."""
    campaign = Campaign.objects.get(pk=campaign_id)
    now = clock.now()
    had = eligibility.existing_coupons(campaign, set(user_ids))
    return [
        eligibility.existing_result_or_refusal(campaign, had.get(user_id), now) or campaign
        for user_id in user_ids
    ]


@lru_cache(maxsize=BATCHERS)
def _batcher(campaign_id: int) -> Batcher[PoolRequest, Issued | PendingConfirmation]:
    return Batcher(lambda requests: _allocate(campaign_id, requests))


def _allocate(campaign_id: int, requests: Sequence[PoolRequest]) -> list[AllocationResult]:
    brought = {one.request.user_id: one.code for one in reversed(requests) if one.code is not None}
    askers = [one.request for one in requests]
    return eligibility.lock_and_allocate(
        campaign_id=campaign_id, requests=askers, choose=partial(_assign_codes, brought=brought)
    )


def _assign_codes(
    campaign: Campaign, requests: Sequence[IssueRequest], *, brought: Mapping[int, str]
) -> AssignedCodes:
    """For each of these what they brought, if it is there to be given, or else what the pool has left."""
    if campaign.code_source != Campaign.CodeSource.POOL:
        return writes.assign_codes(campaign, requests)
    wanted = [brought[asker.user_id] for asker in requests if asker.user_id in brought]
    locked = pool.lock_codes(campaign_id=campaign.pk, codes=wanted)
    others = iter(_other_codes(campaign, len(requests) - len(locked), locked))
    free = set(locked)
    chosen: dict[int, str] = {}
    for asker in requests:
        code = brought.get(asker.user_id)
        if code in free:
            free.discard(code)
        else:
            code = next(others, None)
        if code is not None:
            chosen[asker.user_id] = code
    return chosen


def _other_codes(campaign: Campaign, count: int, locked: set[str]) -> list[str]:
    """As many codes for those who brought none: one of these would be given twice otherwise."""
    return pool.lock_available(campaign_id=campaign.pk, count=count, but=locked) if count else []
