"""`code_pool`: codes are made ahead and listed in Redis, and each request claims the next one from the list.

A claimed code is acknowledged after the commit, and the sweeper returns those of crashed processes. Exact,
each code issued once, none lost; without Redis it issues nothing new (503), and after a flush it lists the
pool again. A request with no code, or with one that is issued already, gets the pool's oldest available one.
"""

from collections.abc import Sequence
from functools import lru_cache

from django.db import IntegrityError

from coupons import CAMPAIGNS_AT_ONCE, pool_list
from coupons.allocation import eligibility, writes
from coupons.allocation.writes import AssignedCodes, Issued, IssueRequest, PendingConfirmation
from coupons.codes import pool
from coupons.issuing.strategies import lookup_batcher
from coupons.models import Campaign
from shop.concurrency.batching import Batcher
from shop.errors import Overloaded, Rejected


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Claim a code, submit it to the batcher, and resolve it, unless the result isn't known."""
    applicants = lookup_batcher(campaign_id).submit(user_id)
    answer = applicants.answer(user_id)
    if answer:
        return eligibility.unwrap(answer)
    code = pool_list.claim_code(applicants.campaign, user_id=user_id)
    try:
        outcome = _batcher(campaign_id).submit(IssueRequest(user_id, claim=code or ""))
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
def _batcher(campaign_id: int) -> Batcher[IssueRequest, Issued | PendingConfirmation]:
    return Batcher(
        lambda requests: eligibility.lock_and_allocate(
            campaign_id=campaign_id, requests=requests, choose=_assign_codes
        ),
        name="code_pool",
    )


def _assign_codes(campaign: Campaign, requests: Sequence[IssueRequest]) -> AssignedCodes:
    """Assign each request the code it claimed, if that is available, or else one that the pool has left."""
    if campaign.code_source != Campaign.CodeSource.POOL:
        return writes.assign_codes(campaign, requests)
    free = pool.lock_codes(campaign_id=campaign.pk, codes={one.claim for one in requests if one.claim})
    missing = len(requests) - len(free)
    # Without the locked ones, which would be assigned twice.
    others = iter(pool.lock_available(campaign_id=campaign.pk, count=missing, but=free) if missing else ())
    chosen: dict[int, str] = {}
    for request in requests:
        code = request.claim if request.claim in free else next(others, None)
        if code is not None:
            free.discard(code)
            chosen[request.user_id] = code
    return chosen
