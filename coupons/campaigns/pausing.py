"""Pausing and resuming a campaign: while paused, no process issues a coupon of it; see `shop.pausing`."""

from functools import partial

from django.utils.translation import ngettext

from coupons.campaigns import campaigns
from coupons.models import Campaign
from shop import pausing


def set_paused(*, campaign_id: int, is_paused: bool, reason: str) -> Campaign:
    """Pause the campaign, or end its pause, after which it issues coupons as far as its terms allow.

    Once a pause returns, no process issues a coupon of it until it is resumed. Durable on return; a campaign
    that is so already stays as it is. Raises `NotFound`, and `Invalid` without a reason.
    """

    def lock() -> Campaign:
        campaigns.get(campaign_id=campaign_id, include_closed=True)
        return Campaign.objects.select_for_update().get(pk=campaign_id)

    return pausing.set_paused(lock, "campaign", is_paused=is_paused, reason=reason)


pause, resume = partial(set_paused, is_paused=True), partial(set_paused, is_paused=False)


def partner_note(campaign: Campaign) -> str:
    """What a pause doesn't stop, for operators: the slots that a partner is confirming; empty without any."""
    number = campaign.confirming
    if not number:
        return ""
    return ngettext(
        "%(count)s slot is with the partner and may still become a coupon.",
        "%(count)s slots are with the partner and may still become coupons.",
        number,
    ) % {"count": f"{number:,}"}
