"""`code_pool`: codes are made ahead and listed in Redis, and each request claims the next one from the list.

A claimed code is acknowledged after the commit, and the sweeper returns those of crashed processes. Exact,
each code issued once, none lost; without Redis it issues nothing new (503), and after a flush it lists the
pool again. A request with no code, or with one that is issued already, gets the pool's oldest available one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from django.db import IntegrityError

from coupons import CAMPAIGNS_AT_ONCE, pool_list
from coupons.allocation import eligibility, writes
from coupons.allocation.eligibility import AllocationResult
from coupons.allocation.writes import AssignedCodes, Issued, IssueRequest, PendingConfirmation
from coupons.codes import pool
from coupons.issuing.strategies import lookup_batcher
from coupons.models import Campaign
from shop.concurrency.batching import Batcher
from shop.errors import Overloaded, Rejected


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """A request and the code that it claimed; None when the list had none."""

    request: IssueRequest
    code: str | None


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Claim a code, submit it to the batcher, and resolve it, unless the result isn't known."""
    applicants = lookup_batcher(campaign_id).submit(user_id)
    answer = applicants.answer(user_id)
    if answer:
        return eligibility.unwrap(answer)
    code = pool_list.claim_code(applicants.campaign, user_id=user_id)
    try:
        outcome = _batcher(campaign_id).submit(PoolRequest(IssueRequest(user_id), code))
    except (Rejected, Overloaded, IntegrityError):
        _resolve_code(campaign_id, user_id, code, is_spent=False)
        raise
    # A request that got another code than it claimed had claimed one that was issued already.
    got = outcome.coupon.code if isinstance(outcome, Issued) else outcome.code
    _resolve_code(campaign_id, user_id, code, is_spent=outcome.is_new or got == code)
    return outcome


def _resolve_code(campaign_id: int, user_id: int, code: str | None, *, is_spent: bool) -> None:
    if code is not None:
        pool_list.resolve_code(campaign_id, user_id=user_id, code=code, is_spent=is_spent)


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _batcher(campaign_id: int) -> Batcher[PoolRequest, Issued | PendingConfirmation]:
    return Batcher(lambda requests: _allocate(campaign_id, requests), name="code_pool")


def _allocate(campaign_id: int, requests: Sequence[PoolRequest]) -> list[AllocationResult]:
    claimed = {
        pool_request.request.user_id: pool_request.code
        for pool_request in reversed(requests)
        if pool_request.code is not None
    }
    issue_requests = [pool_request.request for pool_request in requests]
    return eligibility.lock_and_allocate(
        campaign_id=campaign_id, requests=issue_requests, choose=partial(_assign_codes, claimed=claimed)
    )


def _assign_codes(
    campaign: Campaign, requests: Sequence[IssueRequest], *, claimed: Mapping[int, str]
) -> AssignedCodes:
    """Assign each request the code it claimed, if that is available, or else one that the pool has left."""
    if campaign.code_source != Campaign.CodeSource.POOL:
        return writes.assign_codes(campaign, requests)
    codes = [claimed[request.user_id] for request in requests if request.user_id in claimed]
    locked = pool.lock_codes(campaign_id=campaign.pk, codes=codes)
    missing, free = len(requests) - len(locked), set(locked)
    # Without the locked ones, which would be assigned twice.
    others = iter(pool.lock_available(campaign_id=campaign.pk, count=missing, but=locked) if missing else ())
    chosen: dict[int, str] = {}
    for request in requests:
        code = claimed.get(request.user_id)
        if code in free:
            free.discard(code)
        else:
            code = next(others, None)
        if code is not None:
            chosen[request.user_id] = code
    return chosen
