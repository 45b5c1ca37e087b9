"""`spin_lock`: a lock in Redis that waiters try to take every 100 ms, around the write of `optimistic`.

Exact; no order at all; 409 `lock_not_acquired` after 10 s. A holder that was killed stops the others for up
to 3 s; one that is paused past its lease, or after a flush, finds the campaign's version changed and is
retried. Without Redis 503. `fair_lock` does the same in order, and `group_commit` is faster.
"""

from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import Slot
from coupons.redis_keys import key
from coupons.strategies import optimistic
from foundation.redis import locks


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Answer without the lock if nothing is to be written; otherwise take the lock and write."""
    answer = allocating.read_campaign(campaign_id, [user_id]).answer(user_id)
    if answer is not None:
        return outcomes.unwrap(answer)
    with locks.spinning(key(campaign_id, "spin-lock")):
        return optimistic.issue(campaign_id=campaign_id, user_id=user_id)
