"""Updates Redis and the process's memory when a campaign can issue coupons again.

Call these functions after the commit. A crash may lose their updates: what a process remembers is at most a
second old, and the sweepers correct the rest.
"""

from coupons import sold_out
from coupons.gate import gate
from coupons.pool_list import pool_list


def slot_released(*, campaign_id: int, user_id: int, code: str) -> None:
    """The account's slot was released: the slot and its code are available to others."""
    pool_list.return_code(campaign_id, code=code)
    gate.remove_member(campaign_id=campaign_id, user_id=user_id)
    sold_out.reopen(campaign_id)


def terms_changed(*, campaign_id: int) -> None:
    """The campaign's quantity, times or strategy have changed."""
    pool_list.drop(campaign_id)
    gate.refresh(campaign_id=campaign_id)
    sold_out.reopen(campaign_id)


def codes_added(*, campaign_id: int) -> None:
    """The campaign's pool has new codes."""
    pool_list.clear_nothing_more(campaign_id)
    gate.refresh(campaign_id=campaign_id)
    sold_out.reopen(campaign_id)
