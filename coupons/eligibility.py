"""Whether a campaign issues coupons, how many are left, and who may get one: every strategy decides by it.

The rules have no query of their own: the caller says whether an account is listed. `coupons.rows` has their
twins as conditions on the campaign's row: `issues_at`, and `lets_in` for its list.
"""

from collections.abc import Callable, Container
from datetime import datetime
from math import ceil
from typing import NamedTuple

from foundation.errors import Rejected, Unavailable
from foundation.lazy_texts import mark


class CampaignState(NamedTuple):
    """What a campaign is by now: `taken` of the `capacity` slots have a coupon or are being confirmed.

    A capacity of None is for everybody.
    """

    name: str
    opens_at: datetime
    closes_at: datetime | None
    paused_at: datetime | None
    capacity: int | None
    taken: int


def capacity(quantity: int | None, codes_added: int | None) -> int | None:
    """How many coupons a campaign can ever issue, None for everybody.

    `codes_added` is None without a pool; with one, each coupon takes a code for good.
    """
    if quantity is None or codes_added is None:
        return quantity
    return min(quantity, codes_added)


def remaining(capacity: int | None, taken: int) -> int | None:
    """How many coupons are left to issue, None for everybody."""
    return None if capacity is None else capacity - taken


def has_left(capacity: int | None, taken: int, number: int) -> bool:
    """Whether so many coupons are left to issue."""
    return capacity is None or capacity - taken >= number


def status_at(campaign: CampaignState, now: datetime) -> str:
    """Whether it issues coupons at that instant, `open`, and if not, why: a value of `Campaign.Status`."""
    if campaign.closes_at is not None and now >= campaign.closes_at:
        return "closed"
    if campaign.paused_at is not None:
        return "paused"
    if now < campaign.opens_at:
        return "scheduled"
    if campaign.capacity == 0:
        return "awaiting_codes"
    return "open" if has_left(campaign.capacity, campaign.taken, 1) else "sold_out"


def refusal_of_campaign(campaign: CampaignState, now: datetime) -> Rejected | None:
    """Why the campaign issues no coupon at that instant, to whatever account; None when it is open."""
    name = campaign.name
    match status_at(campaign, now):
        case "scheduled":
            text = mark("{campaign} opens at {time}.", campaign=name, time=campaign.opens_at.isoformat())
            seconds = ceil((campaign.opens_at - now).total_seconds())
            return Rejected(text, code="campaign_not_open", retry_after=seconds)
        case "paused":
            return paused(name)
        case "awaiting_codes":
            text = mark("{campaign} has no codes yet. Try again later.", campaign=name)
            return Rejected(text, code="campaign_not_open")
        case "closed":
            return Rejected(mark("{campaign} is closed.", campaign=name), code="campaign_closed")
        case "sold_out":
            return sold_out(name)
    return None


def paused(name: str) -> Rejected:
    """The refusal while the campaign is paused; only an operator can say when it goes on."""
    detail = mark("{campaign} is paused: no coupons are issued for now. Try again later.", campaign=name)
    return Rejected(detail, code="campaign_paused")


def sold_out(name: str) -> Rejected:
    """The refusal when every slot is taken, or the pool has no code left."""
    return Rejected(mark("{campaign} is sold out.", campaign=name), code="sold_out")


def refusal(
    campaign: CampaignState, account_id: int, *, now: datetime, listed: Callable[[], Container[int]] | None
) -> Rejected | None:
    """Why the account, which has no coupon, can't get one of the campaign; None when it is eligible.

    `listed` reads the accounts of its list, None if it is for all. The list is read last, because the event
    loop asks for accounts of a campaign that is full.
    """
    refused = refusal_of_campaign(campaign, now)
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
