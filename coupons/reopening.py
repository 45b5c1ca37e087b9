"""What is told to those that count outside the database, once a campaign has something to give again.

Call these after the commit. They may be lost in a crash: then the flags die within a second by themselves,
and the sweepers put the rest right.
"""

from coupons import sold_out
from coupons.gate import gate
from coupons.pool_list import pool_list


def slot_released(*, campaign_id: int, user_id: int, code: str) -> None:
    """The partner refused the account's slot: it, and its code, are there for others."""
    pool_list.return_code(campaign_id, code=code)
    gate.remove_member(campaign_id=campaign_id, user_id=user_id)
    sold_out.reopen(campaign_id)


def terms_changed(*, campaign_id: int) -> None:
    """The campaign's quantity, times or strategy are others now."""
    pool_list.drop(campaign_id)
    gate.refresh(campaign_id=campaign_id)
    sold_out.reopen(campaign_id)


def codes_added(*, campaign_id: int) -> None:
    """The campaign's pool has new codes."""
    pool_list.clear_nothing_more(campaign_id)
    gate.refresh(campaign_id=campaign_id)
    sold_out.reopen(campaign_id)
