"""A campaign's slots: which accounts of a batch get one, with which code and position.

Rules without a query.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from foundation.errors import Rejected


class Decision(NamedTuple):
    """What a batch gets: slots for `takers`, in this order; `refusals` by account, None for eligible ones."""

    takers: list[int]
    refusals: dict[int, Rejected | None]


class ConfirmationDecision(Enum):
    """What is known of a slot's key: registered, never to be registered, or certainly not sent so far."""

    AGREED = "agreed"
    REFUSED = "refused"
    UNSENT = "unsent"


def decide(
    asking: Iterable[int],
    existing: Container[int],
    refusal: Callable[[int], Rejected | None],
    *,
    remaining: int | None,
) -> Decision:
    """Decide in order of arrival: the first eligible accounts get what is left, None for everybody.

    Accounts with an existing coupon or confirmation are left out, and each account asks once.
    """
    refusals = {
        account_id: refusal(account_id) for account_id in dict.fromkeys(asking) if account_id not in existing
    }
    eligible = [account_id for account_id, refused in refusals.items() if refused is None]
    return Decision(eligible[:remaining], refusals)


def assign_codes(claims: Sequence[tuple[int, str]], free: set[str], others: Iterable[str]) -> dict[int, str]:
    """The codes of these accounts, by account in their order; a claim is an account and the code it claimed.

    A claimed code that is `free` goes to the first account that claimed it, and one of the `others` to any
    other account, until they run out.
    """
    left = set(free)
    next_other = iter(others)
    chosen: dict[int, str] = {}
    for account_id, claimed in claims:
        code = claimed if claimed in left else next(next_other, None)
        if code is not None:
            left.discard(code)
            chosen[account_id] = code
    return chosen


def first_position(issued: int, new: int) -> int:
    """The position of the first of so many new coupons: the last one is the count of issued ones."""
    return issued - new + 1


def expires_at(issued_at: datetime, valid_for_days: int) -> datetime:
    """When a coupon expires."""
    return issued_at + timedelta(days=valid_for_days)


def settles(decision: ConfirmationDecision, *, is_cancelled: bool, attempts: int) -> bool:
    """Whether the decision makes a coupon of a slot that a partner is to confirm, or frees it.

    A cancelled slot never becomes a coupon. An unsent call settles it only before the first further attempt,
    which may have reached the partner.
    """
    if decision is ConfirmationDecision.REFUSED:
        return True
    return not is_cancelled and (decision is ConfirmationDecision.AGREED or attempts == 0)
