"""Remembers for a second that a campaign is sold out, so that requests are refused without a transaction.

So a slot that is released is available to all processes within a second, and at once in the one that released
it. A process reads only campaigns that it has seen sold out lately: for all others every request would cost a
read that finds nothing.
"""

from functools import partial

from coupons.models import Campaign
from shop.concurrency.shared_read import SharedRead

SECONDS = 1.0
SECONDS_OF_INTEREST = 60.0
MOST_REMEMBERED = 1_024

_reads: dict[int, SharedRead[Campaign | None]] = {}


def read(campaign_id: int) -> Campaign | None:
    """The campaign as it was read sold out, at most a second ago, or as it is read so now without a lock.

    None for a campaign that may have slots left, or of which nothing is known.
    """
    campaign, needs_refresh = read_cached(campaign_id)
    return _read(campaign_id) if needs_refresh else campaign


def read_cached(campaign_id: int) -> tuple[Campaign | None, bool]:
    """The campaign if it is known to be sold out, and whether only `read` can find that out."""
    shared = _reads.get(campaign_id)
    if shared is None or shared.age_seconds() > SECONDS + SECONDS_OF_INTEREST:
        return None, False
    known = shared.fresh()
    return (known.value, False) if known else (None, True)


def refresh(campaign_id: int) -> None:
    """Read whether the campaign is sold out, and remember it."""
    if campaign_id not in _reads:
        if len(_reads) >= MOST_REMEMBERED:
            _reads.clear()
        shared = SharedRead(
            partial(_find_sold_out, campaign_id), name=f"campaign {campaign_id}", seconds=SECONDS
        )
        _reads.setdefault(campaign_id, shared)
    _read(campaign_id)


def reopen(campaign_id: int) -> None:
    """Forget that the campaign was sold out; call it once the released slots are committed."""
    _reads.pop(campaign_id, None)


def forget() -> None:
    """Forget what this process remembers (tests)."""
    _reads.clear()


def _read(campaign_id: int) -> Campaign | None:
    """The campaign, if one thread finds it sold out for all; else it is forgotten."""
    shared = _reads.get(campaign_id)
    campaign = shared.get() if shared else None
    if campaign is None:
        _reads.pop(campaign_id, None)
    return campaign


def _find_sold_out(campaign_id: int) -> Campaign | None:
    campaign = Campaign.objects.filter(pk=campaign_id).first()
    return campaign if campaign is not None and campaign.remaining <= 0 else None
