"""A campaign's state and limits: how many coupons it can issue, how many are left, and whether it issues now.

Rules without a query. `coupons.rows.issues_at` is the same as a condition on the campaign's row.
"""

from datetime import datetime
from math import ceil
from typing import NamedTuple

from foundation.errors import Rejected
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


def refusal(campaign: CampaignState, now: datetime) -> Rejected | None:
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
