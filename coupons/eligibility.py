"""Who may get a coupon of a campaign, and what an account gets that has one: every strategy decides by it.

Rules without a query. `coupons.rows.lets_in` is the list's rule as a condition on the campaign's row.
"""

from collections.abc import Callable, Container
from datetime import datetime

from coupons import limits
from coupons.limits import CampaignState
from foundation.errors import Rejected, Unavailable
from foundation.lazy_texts import mark


def refusal(
    campaign: CampaignState, account_id: int, *, now: datetime, listed: Callable[[], Container[int]] | None
) -> Rejected | None:
    """Why the account, which has no coupon, can't get one of the campaign; None when it is eligible.

    `listed` reads the accounts of its list, None if it is for all. They are read last: the event loop asks
    for an account of a campaign that is full.
    """
    refused = limits.refusal(campaign, now)
    if refused is None and listed is not None and account_id not in listed():
        text = mark("{campaign} is for listed accounts, and this one is not listed.", campaign=campaign.name)
        return Rejected(text, code="not_eligible")
    return refused


def refusal_of_coupon(status: str) -> Rejected | None:
    """Why an account whose coupon has this status gets none for its request; None when it gets that one."""
    if status == "void":
        return Rejected(mark("This account's coupon of the campaign was made void."), code="coupon_void")
    return None


def refusal_of_confirmation(*, is_cancelled: bool) -> Unavailable | None:
    """Why an account whose slot a partner is to confirm gets nothing now; None while it may be confirmed."""
    if is_cancelled:
        return Unavailable(
            mark("The partner didn't confirm in time; the coupon is being cancelled there. Try again.")
        )
    return None
