"""The names of a campaign's keys in Redis, and how long they are kept."""

from coupons.models import Campaign
from shop import clock

# Keys of a campaign that never closes expire so long after their last write; they are filled again on the
# next request.
SECONDS_KEPT = 24 * 3600
SECONDS_KEPT_AFTER_CLOSING = 3600


def key(campaign_id: int, name: str) -> str:
    """The key of that name; all keys of a campaign share a hash tag, as scripts on Redis Cluster require."""
    return f"firstcome:{{campaign:{campaign_id}}}:{name}"


def seconds_kept(campaign: Campaign) -> int:
    """The time to live of a key of the campaign, from a write now."""
    if campaign.closes_at is None:
        return SECONDS_KEPT
    left = (campaign.closes_at - clock.now()).total_seconds()
    return max(0, int(left)) + SECONDS_KEPT_AFTER_CLOSING
