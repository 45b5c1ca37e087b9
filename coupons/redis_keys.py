"""The names of a campaign's keys in Redis, and how long they are kept."""

from coupons.models import Campaign
from shop import clock

# A campaign that never closes keeps its keys for as long since they were last written; they come back when
# they are asked for.
SECONDS_KEPT = 24 * 3600
SECONDS_KEPT_AFTER_CLOSING = 3600


def key(campaign_id: int, name: str) -> str:
    """One hash tag a campaign: a script touches several keys, and Redis Cluster wants them in one place."""
    return f"firstcome:{{campaign:{campaign_id}}}:{name}"


def seconds_kept(campaign: Campaign) -> int:
    """How long from now a key of the campaign is to be kept when it is written."""
    if campaign.closes_at is None:
        return SECONDS_KEPT
    left = (campaign.closes_at - clock.now()).total_seconds()
    return max(0, int(left)) + SECONDS_KEPT_AFTER_CLOSING
