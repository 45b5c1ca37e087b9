"""When a saga is tried again, and how many places its class of work may take."""

from collections.abc import Mapping
from datetime import datetime, timedelta

RETRYABLE = ("failed", "pending", "requires_action")
"""The events that are not final: the step is tried again."""
# The pause of a call that wasn't made is that of so many attempts: up to 8 s.
ATTEMPTS_OF_UNCALLED = 4
# The longest pause of a compensation, and past the deadline, until so long after it.
LONGEST_LATE_PAUSE_SECONDS = 30.0
LATELY = timedelta(minutes=10)


def retry_pause(
    attempts: int, now: datetime, deadline_at: datetime, *, is_uncalled: bool, is_undo: bool
) -> tuple[int, float | None]:
    """How many attempts the pause before the next one is for, and how many seconds it lasts at most, if that
    is less than usual.

    What was not called is called soon after the other system is back; what is to be released, soon after the
    deadline.
    """
    is_soon = (is_undo or now >= deadline_at) and now < deadline_at + LATELY
    most_seconds = LONGEST_LATE_PAUSE_SECONDS if is_soon else None
    return ATTEMPTS_OF_UNCALLED if is_uncalled else attempts, most_seconds


def free_places(taken: Mapping[str, int], shares: Mapping[str, int], kept_free: int) -> dict[str, int]:
    """How many more places each class may take: of its own share, what is free but for the first few places
    of others; beyond it, what is free but for the next few of every share that isn't used up. So a class
    grows to its share as the work of others ends, however much else arrives. These few are `kept_free`.
    """
    left = sum(shares.values()) - sum(taken.values())
    first = dict[str, int]()
    following = dict[str, int]()
    for name, share in shares.items():
        used = taken.get(name, 0)
        first[name] = max(0, min(kept_free, share) - used)
        following[name] = max(0, min(kept_free, share - used))
    within = left - sum(first.values())
    beyond = left - sum(following.values())
    places = dict[str, int]()
    for name, share in shares.items():
        own = min(share - taken.get(name, 0), within + first[name])
        places[name] = max(0, own, beyond + following[name])
    return places
