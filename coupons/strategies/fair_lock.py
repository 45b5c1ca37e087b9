"""`fair_lock`: a lock in Redis with a queue of waiters, around the write of `optimistic`.

Exact; positions in the order in which requests reached Redis (coupons/tests/test_locks_in_redis.py). Waits
10 s at most, then 409 `lock_not_acquired`. A holder that was killed stops the others for up to 3.5 s; a write
after the lease finds the version changed. Without Redis 503; after a flush the waiters queue again.
"""

from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import Slot
from coupons.redis_keys import key
from coupons.strategies import optimistic
from foundation.redis import fair_lock


def issue(*, campaign_id: int, user_id: int) -> Slot:
    """Join the queue, answer without the lock if nothing is to be written, else write in turn.

    Joining comes first: database reads before it changed the order more than anything else.
    """
    with fair_lock.queued(key(campaign_id, "fair-lock")) as turn:
        answer = allocating.read_campaign(campaign_id, [user_id]).answer(user_id)
        if answer is not None:
            return outcomes.unwrap(answer)
        with fair_lock.acquired(turn):
            return optimistic.issue(campaign_id=campaign_id, user_id=user_id)
