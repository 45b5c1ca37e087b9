"""Healing the lists of codes: what the dead took goes back, and a list that lost something is begun anew."""

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from prometheus_client import Counter
from structlog import get_logger

from coupons.models import Campaign, PoolCode
from coupons.pool_list import pool_list
from coupons.redis_keys import SECONDS_KEPT_AFTER_CLOSING
from shop import clock

log = get_logger(__name__)
GIVEN_BACK = Counter(
    "firstcome_pool_codes_given_back",
    "Codes that an asker took from the list and died with, put back by the sweeper.",
)
# Longer than a request may wait for its batch, and its batch for the database's locks. Should one take even
# longer, two bring the same code, and the database gives it to the first.
IN_FLIGHT_SECONDS = 30


def rebuild() -> int:
    """Make each list anew from the database, its first chunk at once. Returns how many codes that were.

    Safe at any moment: what is in flight meanwhile is listed once more at worst, and given once.
    """
    listed = 0
    for campaign in _campaigns_with_list(closing_after=clock.now()):
        pool_list.drop(campaign.pk)
        listed += pool_list.fill(campaign, after_id=0)
    return listed


def heal(*, after_seconds: int = IN_FLIGHT_SECONDS) -> int:
    """Settle what was taken that long ago and not settled since; returns how many codes that were.

    A list that has nothing while its pool has something lost it on the way, and is begun anew.
    """
    settled = 0
    # Keys outlive their campaign for as long.
    long_ago = clock.now() - timedelta(seconds=SECONDS_KEPT_AFTER_CLOSING)
    for campaign in _campaigns_with_list(closing_after=long_ago):
        settled += _resolve_abandoned(campaign.pk, after_seconds)
        if pool_list.is_used_up(campaign.pk) and _available(campaign.pk).exists():
            pool_list.drop(campaign.pk)
    return settled


def _campaigns_with_list(*, closing_after: datetime) -> "QuerySet[Campaign]":
    """The campaigns whose codes are listed."""
    closes_then = Q(closes_at__isnull=True) | Q(closes_at__gt=closing_after)
    return Campaign.objects.filter(closes_then, strategy="code_pool")


def _resolve_abandoned(campaign_id: int, after_seconds: int) -> int:
    """The database tells what became of each code: it is still available, or somebody has it."""
    taken = pool_list.abandoned_codes(campaign_id, after_seconds=after_seconds)
    if not taken:
        return 0
    available = set(_available(campaign_id).filter(code__in=taken.values()).values_list("code", flat=True))
    settled = [
        code
        for user_id, code in taken.items()
        if pool_list.resolve_code(campaign_id, user_id=user_id, code=code, is_spent=code not in available)
    ]
    given_back = len(available.intersection(settled))
    GIVEN_BACK.inc(given_back)
    log.warning("codes in flight were settled", campaign=campaign_id, all=len(settled), back=given_back)
    return len(settled)


def _available(campaign_id: int) -> "QuerySet[PoolCode]":
    return PoolCode.objects.filter(campaign_id=campaign_id, status=PoolCode.Status.AVAILABLE)
