"""Fills the gate with the accounts that have a coupon of the campaign, while the campaign goes on issuing.

A batch that commits meanwhile adds its accounts as members itself, whether the gate is filled or not, so the
two together miss no account. A hundred thousand members are read and added in chunks, which takes some
seconds; until the last of them is added the gate decides nothing, and requests go straight to the database.
"""

import threading
from functools import lru_cache

from coupons.gate import gate
from coupons.models import Campaign, Confirmation, Coupon
from shop.db import key_walks

CAMPAIGNS = 1_024


def fill(*, campaign_id: int) -> bool:
    """Fill the gate and open it. False when another thread is filling it, or Redis lost it meanwhile."""
    lock = _fill_lock(campaign_id)
    if not lock.acquire(blocking=False):
        return False
    try:
        return _fill(Campaign.objects.get(pk=campaign_id))
    finally:
        lock.release()


def _fill(campaign: Campaign) -> bool:
    # Confirmations first: one that becomes a coupon meanwhile is read twice rather than not at all.
    confirming = Confirmation.objects.filter(campaign=campaign)
    for page in key_walks.pages(confirming, size=gate.AT_ONCE, key="account_id"):
        gate.add_members(campaign, [user_id for (user_id,) in page])
    number = 0
    # By position: coupons issued meanwhile come after those already read.
    coupons = Coupon.objects.filter(campaign=campaign, position__gt=0)
    for page in key_walks.pages(coupons, "account_id", size=gate.AT_ONCE, key="position"):
        gate.add_members(campaign, [user_id for _position, user_id in page])
        number += len(page)
    campaign.refresh_from_db()
    is_open = gate.open(campaign, members=number)
    # Changes since the campaign was read went to a gate that was closed; from now on they reach an open one.
    gate.refresh(campaign_id=campaign.pk)
    return is_open


@lru_cache(maxsize=CAMPAIGNS)
def _fill_lock(campaign_id: int) -> threading.Lock:
    return threading.Lock()
