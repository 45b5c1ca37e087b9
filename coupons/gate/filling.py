"""Fills the gate with the accounts that have a coupon of the campaign, while the campaign goes on issuing.

A batch that commits meanwhile adds its accounts as members itself, whether the gate is filled or not, so the
two together miss no account. A hundred thousand members are read and added in chunks, which takes some
seconds; until the last of them is added the gate decides nothing, and requests go straight to the database.
"""

import threading
from collections.abc import Iterator
from functools import lru_cache

from coupons.gate import gate
from coupons.models import Campaign, Confirmation, Coupon

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
    for user_ids in _confirming_account_ids(campaign):
        gate.add_members(campaign, user_ids)
    number = 0
    for user_ids in _owner_ids(campaign):
        gate.add_members(campaign, user_ids)
        number += len(user_ids)
    campaign.refresh_from_db()
    is_open = gate.open(campaign, members=number)
    # Changes since the campaign was read went to a gate that was closed; from now on they reach an open one.
    gate.refresh(campaign_id=campaign.pk)
    return is_open


def _confirming_account_ids(campaign: Campaign) -> Iterator[list[int]]:
    last = 0
    confirmations = Confirmation.objects.filter(campaign=campaign).order_by("account_id")
    while user_ids := list(
        confirmations.filter(account_id__gt=last).values_list("account_id", flat=True)[: gate.AT_ONCE]
    ):
        yield user_ids
        last = user_ids[-1]


def _owner_ids(campaign: Campaign) -> Iterator[list[int]]:
    """The accounts with a coupon, by position: coupons issued meanwhile come after those already read."""
    last = 0
    coupons = Coupon.objects.filter(campaign=campaign).order_by("position")
    while rows := list(
        coupons.filter(position__gt=last).values_list("account_id", "position")[: gate.AT_ONCE]
    ):
        yield [user_id for user_id, _ in rows]
        last = rows[-1][1] or 0


@lru_cache(maxsize=CAMPAIGNS)
def _fill_lock(campaign_id: int) -> threading.Lock:
    return threading.Lock()
