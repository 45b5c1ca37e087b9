"""Pausing and resuming a campaign: while it is paused, no process issues a coupon of it.

`coupons.allocation.eligibility.refusal` decides, by the campaign's row as each strategy locks it or as its
UPDATE requires it; see `shop.pausing`. Accounts that have a coupon still get it, queue tickets wait, and a
slot that was taken before may still be confirmed by its partner.
"""

from django.utils.translation import ngettext

from coupons import campaigns
from coupons.models import Campaign
from shop import clock, pausing
from shop.db import transactions


def pause(*, campaign_id: int, reason: str) -> Campaign:
    """Pause the campaign: once this returns, no process issues a coupon of it until it is resumed.

    Durable on return; a campaign that is paused already stays as it is. Raises `NotFound`, and `Invalid`
    without a reason.
    """
    return _change(campaign_id, is_paused=True, reason=reason)


def resume(*, campaign_id: int, reason: str) -> Campaign:
    """End the campaign's pause: from now on it issues coupons, as far as its terms allow.

    Durable on return; a campaign that is not paused stays as it is. Raises `NotFound`, and `Invalid` without
    a reason.
    """
    return _change(campaign_id, is_paused=False, reason=reason)


def partner_note(campaign: Campaign) -> str:
    """What a pause doesn't stop, for operators: the slots that a partner is confirming; empty without any."""
    number = campaign.confirming
    if not number:
        return ""
    text = ngettext(
        "%(count)s slot is with the partner and may still become a coupon.",
        "%(count)s slots are with the partner and may still become coupons.",
        number,
    )
    return text % {"count": f"{number:,}"}


def _change(campaign_id: int, *, is_paused: bool, reason: str) -> Campaign:
    given = pausing.check_reason(reason)
    campaigns.get(campaign_id=campaign_id, include_closed=True)

    def work() -> Campaign:
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        before = campaign.paused_at
        if (before is not None) == is_paused:
            return campaign
        campaign.paused_at = clock.now() if is_paused else None
        # What has read the campaign without a lock finds it changed.
        campaign.version += 1
        campaign.save(update_fields=["paused_at", "version"])
        pausing.note(
            what="campaign.paused" if is_paused else "campaign.resumed",
            subject=f"campaign {campaign_id}",
            before=before,
            after=campaign.paused_at,
            reason=given,
        )
        return campaign

    return transactions.run(work, transactions.ONCE)
