"""Counters of this process: what became of requests for coupons, and coupons that were redeemed."""

from collections import Counter as Tally
from collections.abc import Sequence
from functools import lru_cache

from prometheus_client import Counter

from foundation.observability.bounded_counter import BoundedCounter

REQUESTS = Counter(
    "firstcome_coupon_requests",
    "Requests for coupons: issued, repeated (issued before), pending (a ticket), or the refusal's code.",
    ["outcome"],
)
_requests_counter = lru_cache(REQUESTS.labels)
CAMPAIGN_REQUESTS = BoundedCounter(
    "firstcome_campaign_requests",
    "Requests for coupons of a campaign, by their outcome.",
    "campaign",
    ["outcome"],
)
REDEEMED = Counter("firstcome_coupons_redeemed", "Coupons redeemed by orders that were paid.")
CAMPAIGN_REDEEMED = BoundedCounter(
    "firstcome_campaign_redeemed", "Coupons of a campaign redeemed by orders that were paid.", "campaign"
)
ISSUED = "issued"
REPEATED = "repeated"
PENDING = "pending"
CLOSED = "campaign_closed"


def count_outcomes(outcomes: Sequence[tuple[int, str]]) -> None:
    """Count new coupons, and tickets that ended without one, by campaign and outcome; after the commit."""
    for (campaign_id, outcome), number in Tally(outcomes).items():
        count_answer(campaign_id, outcome, number)


def count_redeemed(campaign_ids: Sequence[int]) -> None:
    """Count redeemed coupons of these campaigns; called after the commit."""
    REDEEMED.inc(len(campaign_ids))
    for campaign_id, number in Tally(campaign_ids).items():
        CAMPAIGN_REDEEMED.inc(campaign_id, amount=number)


def count_answer(campaign_id: int | None, outcome: str, number: int = 1) -> None:
    """Count answers: `issued`, `repeated`, `pending`, or a refusal's code.

    `campaign_id` is None unless the campaign exists: requests can name any number.
    """
    _requests_counter(outcome).inc(number)
    # Otherwise one account that asks for each campaign of the past would leave no label for the next one.
    if campaign_id is not None and (outcome != CLOSED or CAMPAIGN_REQUESTS.has(campaign_id)):
        CAMPAIGN_REQUESTS.inc(campaign_id, outcome, amount=number)
