"""The strategies for concurrent requests for one campaign: one module each, all with the same signature."""

from typing import Protocol

from coupons.allocation.writes import Issued, PendingConfirmation, Queued


class Strategy(Protocol):
    """Allocates a slot to one account, as `coupons.issuing.issuing.issue` promises. The campaign exists.

    The slot is a coupon, or pending confirmation if the campaign has a partner. The strategy doesn't call the
    partner, so that no lock is held during the call. `queue` returns a ticket instead.
    """

    def __call__(self, *, campaign_id: int, user_id: int) -> Issued | PendingConfirmation | Queued: ...
