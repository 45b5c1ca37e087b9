"""Heals the lists of codes: returns the codes of crashed processes, and rebuilds lists that lost some."""

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
    "Codes that a crashed process had claimed from the list, returned by the sweeper.",
)
# Longer than a request may wait for its batch, and its batch for the database's locks. If one takes even
# longer, two requests claim the same code, and the database assigns it to the first.
IN_FLIGHT_SECONDS = 30


def rebuild() -> int:
    """Rebuild each list from the database, the first chunk at once. Returns how many codes were listed.

    Safe at any moment: a code in flight is listed twice at worst, and issued once.
    """
    listed = 0
    for campaign in _campaigns_with_list(closing_after=clock.now()):
        pool_list.drop(campaign.pk)
        listed += pool_list.fill(campaign, after_id=0)
    return listed


def heal(*, after_seconds: int = IN_FLIGHT_SECONDS) -> int:
    """Resolve codes that were claimed so long ago and are still in flight; returns how many.

    A list that is empty while its pool has available codes has lost them, and is dropped to be filled again.
    """
    resolved = 0
    # Keys are kept for as long after their campaign has closed.
    long_ago = clock.now() - timedelta(seconds=SECONDS_KEPT_AFTER_CLOSING)
    for campaign in _campaigns_with_list(closing_after=long_ago):
        resolved += _resolve_abandoned(campaign.pk, after_seconds)
        if pool_list.is_used_up(campaign.pk) and _available(campaign.pk).exists():
            pool_list.drop(campaign.pk)
    return resolved


def _campaigns_with_list(*, closing_after: datetime) -> "QuerySet[Campaign]":
    """The campaigns that have a list."""
    closes_then = Q(closes_at__isnull=True) | Q(closes_at__gt=closing_after)
    return Campaign.objects.filter(closes_then, strategy="code_pool")


def _resolve_abandoned(campaign_id: int, after_seconds: int) -> int:
    """Return to the list the abandoned codes that are available in the database, and drop the others."""
    abandoned = pool_list.abandoned_codes(campaign_id, after_seconds=after_seconds)
    if not abandoned:
        return 0
    available = set(
        _available(campaign_id).filter(code__in=abandoned.values()).values_list("code", flat=True)
    )
    resolved = [
        code
        for user_id, code in abandoned.items()
        if pool_list.resolve_code(campaign_id, user_id=user_id, code=code, is_spent=code not in available)
    ]
    returned = len(available.intersection(resolved))
    GIVEN_BACK.inc(returned)
    log.warning("codes in flight were resolved", campaign=campaign_id, all=len(resolved), back=returned)
    return len(resolved)


def _available(campaign_id: int) -> "QuerySet[PoolCode]":
    return PoolCode.objects.filter(campaign_id=campaign_id, status=PoolCode.Status.AVAILABLE)
