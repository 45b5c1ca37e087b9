"""The strategies that keep requests for one campaign apart, side by side: one module each, one signature."""

from typing import Protocol

from coupons.allocation.writes import Issued, PendingConfirmation, Queued


class Strategy(Protocol):
    """Give one account its slot, as `coupons.issuing.issuing.issue` promises. The campaign is known to exist.

    The slot is a coupon, or is being confirmed where the campaign has a partner, whom the strategy doesn't
    ask: no lock is held while somebody outside thinks it over. Or the account is queued for one.
    """

    def __call__(self, *, campaign_id: int, user_id: int) -> Issued | PendingConfirmation | Queued: ...
