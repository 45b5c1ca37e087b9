"""Coupons in orders: which may be used, by whom, and what they take off. Rules without a query.

A coupon is issued, then held by an open order, then redeemed by that order or released
(`coupons.holding`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from coupons import eligibility
from coupons.eligibility import CampaignState
from foundation.errors import Held, Rejected
from foundation.lazy_texts import Text, mark

OPENS_SOON = timedelta(days=1)
REASONS = {
    "not_found": mark("There is no such coupon."),
    "void": mark("The coupon was made void."),
    "redeemed": mark("The coupon has been redeemed."),
    "held": mark("The coupon is held by another order."),
    "expired": mark("The coupon has expired."),
    "below_minimum": mark("The order is below the coupon's minimum."),
    "no_eligible_item": mark("The order has none of the products that the coupon is for."),
    "not_first_order": mark("The coupon is for an account's first order, and this one has ordered before."),
    "not_eligible": mark("The code is for listed accounts, and this one is not listed."),
    "sold_out": mark("All coupons of this code are taken."),
    "campaign_not_open": mark("The code can't be used yet."),
    "campaign_closed": mark("The code can't be used any more."),
    "campaign_paused": mark("The code can't be used for now. Try again later."),
}


ISSUED = "issued"
EXPIRED = "expired"
"""An issued coupon past its time, to its customer."""


class Discount(NamedTuple):
    """A campaign's discount: an amount in minor units, or per cent; at most `max_amount`, if there is one."""

    value: int
    is_percent: bool
    min_order_amount: int
    max_amount: int | None


class OpensSoon(Rejected):
    """`not_found` of a shared code whose campaign opens within a day: to callers as any other one."""


def discount_amount(discount: Discount, *, items_amount: int) -> int:
    """The discount on lines of this amount that it counts over; percentages round down.

    Raises `Rejected` `coupon_not_usable` with `reason` `below_minimum`.
    """
    if items_amount < discount.min_order_amount:
        raise not_usable("below_minimum")
    amount = items_amount * discount.value // 100 if discount.is_percent else discount.value
    if discount.max_amount is not None:
        amount = min(amount, discount.max_amount)
    return min(items_amount, amount)


def discounted_amounts(
    products: frozenset[int] | None, *, product_ids: Sequence[int], line_amounts: Sequence[int]
) -> list[int]:
    """The amounts of an order's lines that a discount for these products counts over: 0 for other lines.

    `products` is None for a discount over all. Raises `Rejected` `coupon_not_usable` with the reason
    `no_eligible_item` if there is no such line.
    """
    if products is None:
        return list(line_amounts)
    if products.isdisjoint(product_ids):
        raise not_usable("no_eligible_item")
    pairs = zip(product_ids, line_amounts, strict=True)
    return [amount if product_id in products else 0 for product_id, amount in pairs]


def status_at(status: str, expires_at: datetime, now: datetime) -> str:
    """A coupon's status as the customer sees it: an issued one past its time is `expired`."""
    return EXPIRED if status == ISSUED and expires_at <= now else status


def is_valid(expires_at: datetime, now: datetime) -> bool:
    """Whether a redeemed coupon can be used again, once its order is refunded."""
    return expires_at > now


def require_issued(status: str, expires_at: datetime, *, now: datetime) -> None:
    """Check that an order may take a coupon of this status at that instant.

    Raises `Rejected` `coupon_not_usable` with `reason`: `void`, `redeemed`, `held` or `expired`.
    """
    shown = status_at(status, expires_at, now)
    if shown != ISSUED:
        raise not_usable(shown)


def require_new(campaign: CampaignState, refused: Rejected | None, *, new: int, now: datetime) -> None:
    """Check that a campaign's shared code gives an order a coupon, after so many `new` ones of its batch.

    `refused` says why the account is not eligible. Raises `Rejected` `coupon_not_usable` with `reason`:
    `not_found` before the campaign opens, so that nobody learns its code; else that of the refusal.
    """
    opens_in = campaign.opens_at - now
    if opens_in > timedelta():
        raise not_usable("not_found", kind=OpensSoon if opens_in <= OPENS_SOON else Rejected)
    if refused is None and not eligibility.has_left(campaign.capacity, campaign.taken, new + 1):
        refused = eligibility.sold_out(campaign.name)
    if refused is not None:
        raise not_usable(refused.code, refused.detail)


def not_usable(reason: str, detail: Text = "", *, kind: type[Rejected] = Rejected) -> Rejected:
    """The refusal `coupon_not_usable` for this reason, one of `REASONS`, or else with this text."""
    if reason in ("held", "not_first_order"):
        kind = Held
    return kind(REASONS.get(reason, detail), code="coupon_not_usable", reason=reason)
