"""The ways to keep askers of one campaign apart, side by side: one module each, one signature."""

from typing import Protocol

from coupons.granting import Issued


class Strategy(Protocol):
    """Issue one coupon, as `coupons.issuing.issue` promises. The campaign is known to exist."""

    def __call__(self, *, campaign_id: int, user_id: int) -> Issued: ...
