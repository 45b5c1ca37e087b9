"""`spin_lock`: a lock in Redis that waiters try to take every 100 ms, around the write of `optimistic`.

How: `SET NX PX` with a random token, released by compare-and-delete, waited for 10 s at most. A holder that
is paused past its lease of 3 s loses it; its write finds the campaign's version changed, and is retried.
Promises: exact; no order at all; 409 `lock_not_acquired` after 10 s. Without Redis 503, and nothing is done;
after a flush two requests may write at once, and one of them is retried.
Scales: one coupon at a time over all processes; the more requests wait, the more attempts fail. A holder that
was killed stops all others for up to 3 s.
Choose it: to compare; `fair_lock` does the same in order, and `group_commit` is faster.
"""

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, PendingConfirmation
from coupons.issuing.strategies import optimistic
from coupons.redis_keys import key
from shop.redis import spin_lock


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Answer without the lock if nothing is to be written; otherwise take the lock and write."""
    existing = eligibility.answer_without_lock(campaign_id=campaign_id, user_id=user_id)
    if existing is not None:
        return existing
    with spin_lock.held(key(campaign_id, "spin-lock")):
        return optimistic.issue(campaign_id=campaign_id, user_id=user_id)
