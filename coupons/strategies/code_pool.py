"""`code_pool`: codes are made ahead and listed in Redis, and each request claims the next one from the list.

A claimed code is acknowledged after the commit, and the sweeper returns those of crashed processes. Exact,
each code issued once, none lost; without Redis it issues nothing new (503), and after a flush it lists the
pool again. A request with no code, or with one that is issued already, gets the pool's oldest available one.
"""

from functools import lru_cache

from django.db import IntegrityError

from coupons import CAMPAIGNS_AT_ONCE, pool_list
from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import Issued, IssueRequest, Slot
from coupons.strategies import lookup_batcher
from foundation.concurrency.batching import Batcher
from foundation.errors import Overloaded, Rejected


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Claim a code, submit it to the batcher, and resolve it, unless the result isn't known."""
    applicants = lookup_batcher(campaign_id).submit(user_id)
    answer = applicants.answer(user_id)
    if answer:
        return outcomes.unwrap(answer)
    code = pool_list.claim_code(applicants.campaign, user_id=user_id)
    try:
        outcome = _batcher(campaign_id).submit(IssueRequest(user_id, code=code or ""))
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
def _batcher(campaign_id: int) -> Batcher[IssueRequest, Slot]:
    return Batcher(
        lambda requests: allocating.lock_and_allocate(campaign_id=campaign_id, requests=requests),
        name="code_pool",
    )
