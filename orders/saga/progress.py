"""What a saga does next: who may act on it, what a result leads to, when it is tried again, and where.

Each step's effect happens once because the caller holds the lock of the saga's row while these decide.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

RETRYABLE = ("failed", "pending", "requires_action")
"""The events that are not final: the step is tried again."""
# The pause of a call that wasn't made is that of so many attempts: up to 8 s.
ATTEMPTS_OF_UNCALLED = 4
# The longest pause of a compensation, and past the deadline, until so long after it.
LONGEST_LATE_PAUSE_SECONDS = 30.0
LATELY = timedelta(minutes=10)


class Claim(StrEnum):
    NONE = "none"
    HELD = "held"
    LEASE_LOST = "lease lost"
    """It may be advanced; its last worker recorded nothing, which counts as an attempt."""


class Turn(StrEnum):
    GO_ON = "go on"
    RETRY = "retry"
    COMPENSATE = "compensate"
    NEEDS_OPERATOR = "needs operator"


class Action(StrEnum):
    END = "end"
    CALL = "call"
    UNDO = "undo"
    WAIT = "wait"
    """For another batch."""


def claim(
    *,
    holds: bool,
    held: bool,
    is_leased: bool,
    has_token: bool,
    is_put_off: bool,
    result: str,
    is_called: bool,
) -> Claim:
    """Whether a worker may advance an unfinished saga, which it brings with the event `result`, or none.

    It `holds` the lease by the row, and `held` it when it last wrote the saga, which `is_called` since;
    `has_token` of a lease that has lapsed, and `is_put_off` by another worker since it was found.
    """
    if holds and held:
        return Claim.HELD
    if is_leased:
        # Otherwise calls longer than a lease would be repeated without end.
        is_final = is_called and result != "" and result not in RETRYABLE
        return Claim.HELD if holds or is_final else Claim.NONE
    if result:
        return Claim.HELD
    if is_put_off:
        return Claim.NONE
    return Claim.LEASE_LOST if has_token else Claim.HELD


def turn_after(event: str, code: str, *, can_compensate: bool) -> Turn:
    """What the result of a step leads to; a `code` of one that is done is why it is undone all the same.

    Past the point of no return, and at the end, a refusal counts as a failed attempt.
    """
    if event in RETRYABLE:
        return Turn.RETRY
    if event == "refused":
        return Turn.COMPENSATE if can_compensate else Turn.RETRY
    return Turn.COMPENSATE if event == "done" and code and can_compensate else Turn.GO_ON


def turn_of_attempt(*, is_over: bool, needs_operator: bool, can_compensate: bool) -> Turn:
    """What follows an attempt without a final result, whose time `is_over` or not."""
    if needs_operator:
        return Turn.NEEDS_OPERATOR
    return Turn.COMPENSATE if is_over and can_compensate else Turn.RETRY


def is_stuck(now: datetime, deadline_at: datetime, *, can_compensate: bool) -> bool:
    """Whether a saga that has failed needs an operator: past its deadline it can't be compensated."""
    return now >= deadline_at and not can_compensate


def is_too_late(now: datetime, deadline_at: datetime, *, can_compensate: bool, is_repeat: bool) -> bool:
    """Whether a step is not started any more; a call that may have been made is looked up all the same."""
    return now >= deadline_at and can_compensate and not is_repeat


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


def next_action(*, is_undo: bool, is_other_direction: bool, has_step: bool, is_outside: bool) -> Action:
    """What a saga does after its batch, whose calls are of one direction, maybe another one."""
    if is_undo and not is_other_direction:
        return Action.UNDO
    if not has_step and not is_undo:
        return Action.END
    return Action.CALL if is_outside and not is_other_direction else Action.WAIT


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
