"""Asking for coupons, and what comes of it."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle
from typing import Any

from coupons.allocation.writes import Issued, Queued
from coupons.issuing import issuing
from shop.errors import FirstcomeError, Rejected

# Ten seconds each, which is less than a race's time-out together.
TIMES_IN_VAIN = 3


def asking(campaign_id: int, user_ids: Iterable[int]) -> list[Callable[[], Issued | Queued]]:
    """A call for each account, to be raced."""
    return [partial(_ask, campaign_id=campaign_id, user_id=user_id) for user_id in user_ids]


def asking_by(
    strategies: Iterable[str], campaign_id: int, user_ids: Iterable[int]
) -> list[Callable[[], Any]]:
    """The same by these strategies in turn, whatever the campaign's is; no partner is asked."""
    ways = zip(user_ids, cycle(strategies), strict=False)
    return [
        partial(issuing.STRATEGIES[name], campaign_id=campaign_id, user_id=user_id) for user_id, name in ways
    ]


def _ask(*, campaign_id: int, user_id: int) -> Issued | Queued:
    """As a client asks, who waited for a lock in vain on a busy machine: once more."""
    for _ in range(TIMES_IN_VAIN):
        try:
            return issuing.issue(campaign_id=campaign_id, user_id=user_id)
        except Rejected as refusal:
            if refusal.code != "lock_not_acquired":
                raise
    return issuing.issue(campaign_id=campaign_id, user_id=user_id)


def told(outcomes: Iterable[Any]) -> Counter[str]:
    """How often each outcome came: `new`, `again`, `queued`, or a refusal's code."""
    return Counter(_told(outcome) for outcome in outcomes)


def _told(outcome: Any) -> str:
    match outcome:
        case Issued():
            return "new" if outcome.is_new else "again"
        case Queued():
            return "queued"
        case FirstcomeError():
            return outcome.code
    return repr(outcome)
