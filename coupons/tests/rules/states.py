"""Campaigns for tests of rules."""

from datetime import UTC, datetime, timedelta

from coupons.eligibility import CampaignState

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def campaign(**changed) -> CampaignState:
    """An open campaign without an end, with 10 slots, 3 of them taken."""
    opened_at = NOW - timedelta(days=1)
    state = CampaignState("Autumn", opened_at, closes_at=None, paused_at=None, capacity=10, taken=3)
    return state._replace(**changed)
