"""`spin_lock`: a lock in Redis that everybody asks for again every 100 ms, around the write of `optimistic`.

How: `SET NX PX` with a random token, released by compare-and-delete, waited for 10 s at most. A holder that
is paused past its lease of 3 s loses it; its write finds the campaign's version changed, and begins again.
Promises: exact; no order at all; 409 `lock_not_acquired` after 10 s. Without Redis 503, and nothing done;
flushed, two may write at once, and one of them again.
Scales: one coupon after the other, over all processes; the more wait, the more ask in vain. A holder that was
killed stops everybody for up to 3 s.
Choose it: to compare with; `fair_lock` does the same in order, and `group_commit` better.
"""

from coupons.allocation import eligibility
from coupons.allocation.writes import Issued, PendingConfirmation
from coupons.issuing.strategies import optimistic
from coupons.redis_keys import key
from shop.redis import spin_lock


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation:
    """Answer without the lock who needs none; otherwise get it, and write."""
    had = eligibility.answer_without_lock(campaign_id=campaign_id, user_id=user_id)
    if had is not None:
        return had
    with spin_lock.held(key(campaign_id, "spin-lock")):
        return optimistic.issue(campaign_id=campaign_id, user_id=user_id)
