"""Remembers for a second that a campaign is sold out, so that requests are refused without a transaction.

One process reads the database and informs the others by a flag in Redis that expires a second after the read;
a process's own memory of it expires with the flag. So a slot that is released is available to all processes
within a second, and nearly always at once in the process that released it.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from coupons.models import Campaign
from coupons.redis_keys import key
from shop import clock
from shop.redis import redis_client

SECONDS = 1.0
# A process refreshes only campaigns that it has seen sold out within so many seconds: for all others every
# request would cost a read that finds nothing.
SECONDS_OF_INTEREST = 60.0
MOST_REMEMBERED = 1_024


@dataclass(slots=True)
class _CachedCampaign:
    """A campaign that this process has read as sold out; one of its threads refreshes it for all."""

    campaign: Campaign
    until: float
    refresh_lock: threading.Lock = field(default_factory=threading.Lock)


_cache: dict[int, _CachedCampaign] = {}
_mutex = threading.Lock()


def read(campaign_id: int) -> Campaign | None:
    """The campaign as it was read sold out, at most a second ago, or as it is read so now without a lock.

    None for a campaign that may have slots left, or of which nothing is known.
    """
    campaign, needs_refresh = read_cached(campaign_id)
    cached = _cache.get(campaign_id)
    if cached is None or not needs_refresh:
        return campaign
    # A request that has waited so long for another thread's read is handled as if nothing were known.
    if not cached.refresh_lock.acquire(timeout=SECONDS):
        return None
    try:
        return _recheck(cached) if _cache.get(campaign_id) is cached else None
    finally:
        cached.refresh_lock.release()


def read_cached(campaign_id: int) -> tuple[Campaign | None, bool]:
    """The campaign if it is known to be sold out, and whether only `read` can find that out."""
    cached, now = _cache.get(campaign_id), time.monotonic()
    if cached is None or now > cached.until + SECONDS_OF_INTEREST:
        return None, False
    return (cached.campaign, False) if now < cached.until else (None, True)


def refresh(campaign_id: int) -> None:
    """Read whether the campaign is sold out, and remember it; one thread of this process at a time."""
    cached = _cache.get(campaign_id)
    is_known = cached is not None and time.monotonic() < cached.until
    if is_known or not _mutex.acquire(blocking=False):
        return
    try:
        _read_and_remember(campaign_id)
    finally:
        _mutex.release()


def reopen(campaign_id: int) -> None:
    """Forget that the campaign was sold out; call it once the released slots are committed."""
    _cache.pop(campaign_id, None)
    redis_client.attempt(lambda client: client.delete(_flag_key(campaign_id)), otherwise=0)


def forget() -> None:
    """Forget what this process remembers (tests)."""
    _cache.clear()


def _recheck(cached: _CachedCampaign) -> Campaign | None:
    """The campaign, if another thread or process has read it as sold out since, or this one does now."""
    now = time.monotonic()
    if now < cached.until:
        return cached.campaign
    left = redis_client.attempt(lambda client: _seconds_left(client, cached.campaign), otherwise=0.0)
    if left <= 0:
        return _read_and_remember(cached.campaign.pk)
    cached.until = now + left
    return cached.campaign


def _read_and_remember(campaign_id: int) -> Campaign | None:
    """Read the campaign; remember and return it if it is sold out, else forget it."""
    read_at, read_at_by_the_clock = time.monotonic(), clock.now().timestamp()
    campaign = Campaign.objects.filter(pk=campaign_id).first()
    if campaign is None or campaign.remaining > 0:
        _cache.pop(campaign_id, None)
        return None
    _remember(campaign, until=read_at + SECONDS)
    _publish_flag(campaign, until=read_at_by_the_clock + SECONDS)
    return campaign


def _remember(campaign: Campaign, *, until: float) -> None:
    if len(_cache) >= MOST_REMEMBERED:
        _cache.clear()
    cached = _cache.setdefault(campaign.pk, _CachedCampaign(campaign, until))
    cached.campaign, cached.until = campaign, until


def _publish_flag(campaign: Campaign, *, until: float) -> None:
    """Set the flag. It carries the instant until which it is true, because a slow Redis may set it late."""
    milliseconds = int((until - clock.now().timestamp()) * 1000)
    if milliseconds > 0:
        flag = f"{int(until * 1000)} {campaign.version}"
        redis_client.attempt(
            lambda client: client.set(_flag_key(campaign.pk), flag, px=milliseconds), otherwise=None
        )


def _seconds_left(client: Redis, campaign: Campaign) -> float:
    """For how long the flag is true, by Redis's clock as well, in case the clocks of two machines differ.

    A process that knows another version of the campaign ignores the flag and reads the database.
    """
    with client.pipeline(transaction=False) as pipeline:
        pipeline.get(_flag_key(campaign.pk))
        pipeline.pttl(_flag_key(campaign.pk))
        answers: list[Any] = pipeline.execute()
    flag, milliseconds = answers
    until, version = map(int, flag.split()) if flag else (0, campaign.version)
    is_same = version == campaign.version
    return min(until / 1000 - clock.now().timestamp(), milliseconds / 1000) if is_same else 0.0


def _flag_key(campaign_id: int) -> str:
    return key(campaign_id, "sold-out")
