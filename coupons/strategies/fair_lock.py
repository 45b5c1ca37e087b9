"""`fair_lock`: a lock in Redis with a line before it, around the write of `optimistic`.

How: askers stand in line in Redis in the order in which they reach it; who is done hands the lock to the
next and wakes them. The lease of 3 s is renewed while the lock is held; a write past it begins again.
"""

from coupons import granting
from coupons.in_redis.keys import key
from coupons.slots import Confirming, Issued
from coupons.strategies import optimistic
from shop import fair_lock


def issue(*, campaign_id: int, user_id: int) -> Issued | Confirming:
    """Answer without the lock who needs none; otherwise wait for one's turn, and write."""
    had = granting.answer_without_lock(campaign_id=campaign_id, user_id=user_id)
    return had or issue_in_turn(campaign_id=campaign_id, user_id=user_id)[0]


def issue_in_turn(*, campaign_id: int, user_id: int) -> tuple[Issued | Confirming, int]:
    """Wait for one's turn, and write; with the number that Redis gave in the line."""
    with fair_lock.held(key(campaign_id, "fair-lock")) as turn:
        return optimistic.issue(campaign_id=campaign_id, user_id=user_id), turn.number
