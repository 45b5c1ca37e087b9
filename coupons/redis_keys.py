"""A campaign's keys in Redis: their names, how long they are kept, which campaigns have some, and scripts."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from coupons import CAMPAIGNS_AT_ONCE
from coupons.models import Campaign, Coupon
from foundation import clock
from foundation.redis import redis_client

# Keys of a campaign that never closes expire so long after their last write; they are filled again on the
# next request.
SECONDS_KEPT = 24 * 3600
SECONDS_KEPT_AFTER_CLOSING = 3600
# Of a process: each call takes a connection of its pool, and one that finds none looks like an outage.
CALLS_AT_ONCE = 64
_calls = threading.BoundedSemaphore(CALLS_AT_ONCE)


def key(campaign_id: int, name: str) -> str:
    """The key of that name; all keys of a campaign share a hash tag, as scripts on Redis Cluster require."""
    return f"firstcome:{{campaign:{campaign_id}}}:{name}"


def seconds_kept(campaign: Campaign) -> int:
    """The time to live of a key of the campaign, from a write now."""
    if campaign.closes_at is None:
        return SECONDS_KEPT
    return max(0, int((campaign.closes_at - clock.now()).total_seconds())) + SECONDS_KEPT_AFTER_CLOSING


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def fill_lock(campaign_id: int) -> threading.Lock:
    """One thread of a process fills a campaign's keys from the database: others would read the same rows."""
    return threading.Lock()


def call_script(script: str, campaign_id: int, names: Sequence[str], *arguments: Any) -> Any:
    """The script's reply on the campaign's keys of these names; None when Redis is unavailable."""
    with _calls:
        return redis_client.call_script(script, [key(campaign_id, name) for name in names], *arguments)


def require_script(script: str, campaign_id: int, names: Sequence[str], *arguments: Any) -> Any:
    """The reply of `call_script`. Raises `Unavailable` without Redis."""
    return redis_client.require(call_script(script, campaign_id, names, *arguments))


def campaigns_with_keys(strategy: str) -> "QuerySet[Campaign]":
    """The campaigns of this strategy whose keys matter: those that may still issue, or did until lately."""
    long_ago = clock.now() - timedelta(seconds=SECONDS_KEPT_AFTER_CLOSING)
    last = Coupon.objects.filter(campaign=OuterRef("pk"), position=OuterRef("issued"), issued_at__gt=long_ago)
    has_codes = Q(codes_added__gt=F("issued")) | ~Q(code_source=Campaign.CodeSource.POOL)
    may_issue = Q(quantity__gt=F("issued")) & has_codes
    return Campaign.objects.filter(
        Campaign.not_closed_at(long_ago), may_issue | Q(Exists(last)), strategy=strategy
    )
