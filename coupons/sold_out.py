"""That a campaign is sold out, remembered for a second: who asks meanwhile is refused without a transaction.

One process looks into the database, and tells the others by a flag in Redis that dies a second after the
look; what a process remembers dies with it. So whatever comes back to a campaign is there for all within a
second, and nearly always at once for the process that brought it back.
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
# A process looks by itself only after campaigns that it has seen sold out so long ago: about others it
# would ask in vain, once for each request.
SECONDS_OF_INTEREST = 60.0
MOST_REMEMBERED = 1_024


@dataclass(slots=True)
class _CachedCampaign:
    """What this process knows of a campaign that was sold out; one of its threads looks again for all."""

    campaign: Campaign
    until: float
    refresh_lock: threading.Lock = field(default_factory=threading.Lock)


_cache: dict[int, _CachedCampaign] = {}
_mutex = threading.Lock()


def read(campaign_id: int) -> Campaign | None:
    """The campaign as it was seen sold out, at most a second ago, or as it is seen so now without a lock.

    None for a campaign that may have something to give, or of which nothing is known.
    """
    campaign, needs_look = read_cached(campaign_id)
    seen = _cache.get(campaign_id)
    if seen is None or not needs_look:
        return campaign
    # Who waited for another thread's look so long goes the way of one who knows nothing.
    if not seen.refresh_lock.acquire(timeout=SECONDS):
        return None
    try:
        return _recheck(seen) if _cache.get(campaign_id) is seen else None
    finally:
        seen.refresh_lock.release()


def read_cached(campaign_id: int) -> tuple[Campaign | None, bool]:
    """What `known` says of the campaign if it needs no look in Redis or the database, and whether it does."""
    seen, now = _cache.get(campaign_id), time.monotonic()
    if seen is None or now > seen.until + SECONDS_OF_INTEREST:
        return None, False
    return (seen.campaign, False) if now < seen.until else (None, True)


def refresh(campaign_id: int) -> None:
    """Look whether the campaign is sold out, and remember it; one thread of this process at a time."""
    seen = _cache.get(campaign_id)
    is_known = seen is not None and time.monotonic() < seen.until
    if is_known or not _mutex.acquire(blocking=False):
        return
    try:
        _read_and_remember(campaign_id)
    finally:
        _mutex.release()


def reopen(campaign_id: int) -> None:
    """Forget that the campaign was sold out; call it once what came back is committed."""
    _cache.pop(campaign_id, None)
    redis_client.attempt(lambda client: client.delete(_flag_key(campaign_id)), otherwise=0)


def forget() -> None:
    """Forget what this process has seen (tests)."""
    _cache.clear()


def _recheck(seen: _CachedCampaign) -> Campaign | None:
    """The campaign, if another thread or process has seen it sold out meanwhile, or else this one does."""
    now = time.monotonic()
    if now < seen.until:
        return seen.campaign
    left = redis_client.attempt(lambda client: _seconds_left(client, seen.campaign), otherwise=0.0)
    if left <= 0:
        return _read_and_remember(seen.campaign.pk)
    seen.until = now + left
    return seen.campaign


def _read_and_remember(campaign_id: int) -> Campaign | None:
    """The campaign, remembered, if it has nothing to give; it is forgotten if it has."""
    looked_at, looked_at_by_the_clock = time.monotonic(), clock.now().timestamp()
    campaign = Campaign.objects.filter(pk=campaign_id).first()
    if campaign is None or campaign.remaining > 0:
        _cache.pop(campaign_id, None)
        return None
    _remember(campaign, until=looked_at + SECONDS)
    _publish_flag(campaign, until=looked_at_by_the_clock + SECONDS)
    return campaign


def _remember(campaign: Campaign, *, until: float) -> None:
    if len(_cache) >= MOST_REMEMBERED:
        _cache.clear()
    seen = _cache.setdefault(campaign.pk, _CachedCampaign(campaign, until))
    seen.campaign, seen.until = campaign, until


def _publish_flag(campaign: Campaign, *, until: float) -> None:
    """Set the flag. It bears the instant until which it is true, for a Redis that hangs may set it late."""
    milliseconds = int((until - clock.now().timestamp()) * 1000)
    if milliseconds > 0:
        flag = f"{int(until * 1000)} {campaign.version}"
        redis_client.attempt(
            lambda client: client.set(_flag_key(campaign.pk), flag, px=milliseconds), otherwise=None
        )


def _seconds_left(client: Redis, campaign: Campaign) -> float:
    """How long the flag is true; by Redis's clock as well, should the clocks of two machines differ.

    It says nothing to a process that knows another version of the campaign: that one looks for itself.
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
