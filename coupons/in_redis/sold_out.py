"""That a campaign is sold out, remembered for a second: who asks meanwhile is refused without a transaction.

One process looks into the database, and tells the others by a flag in Redis that dies a second after the
look; what a process remembers dies with it. So whatever comes back to a campaign is there for all within a
second, and at once for the process that brought it back.
"""

import threading
import time
from dataclasses import dataclass, field

from redis import Redis

from coupons.in_redis.keys import key
from coupons.models import Campaign, PoolCode
from shop import redis

SECONDS = 1.0
# A process asks Redis only about campaigns that it has seen sold out so long ago: about others it would
# ask in vain, once for each request.
SECONDS_OF_INTEREST = 60.0
MOST_REMEMBERED = 1_024


@dataclass(slots=True)
class _Seen:
    """What this process knows of a campaign that was sold out, and who of its threads looks again."""

    campaign: Campaign
    until: float
    looking: threading.Lock = field(default_factory=threading.Lock)


_seen: dict[int, _Seen] = {}
_mutex = threading.Lock()


def known(campaign_id: int) -> Campaign | None:
    """The campaign as it was seen sold out, at most a second ago."""
    seen = _seen.get(campaign_id)
    if seen is None:
        return None
    now = time.monotonic()
    if now < seen.until:
        return seen.campaign
    if now > seen.until + SECONDS_OF_INTEREST or not seen.looking.acquire(blocking=False):
        return None
    try:
        left = redis.attempt(lambda client: _milliseconds_left(client, campaign_id), otherwise=0)
        seen.until = max(seen.until, now + left / 1000)
        return seen.campaign if left > 0 else None
    finally:
        seen.looking.release()


def look(campaign_id: int) -> None:
    """Look whether the campaign is sold out, and remember it; one thread of this process at a time."""
    seen = _seen.get(campaign_id)
    lock = seen.looking if seen else _mutex
    if not lock.acquire(blocking=False):
        return
    try:
        looked_at = time.monotonic()
        campaign = Campaign.objects.filter(pk=campaign_id).first()
        if campaign is not None and _gives_nothing(campaign):
            _remember(campaign, until=looked_at + SECONDS)
    finally:
        lock.release()


def reopen(campaign_id: int) -> None:
    """Forget that the campaign was sold out; call it once what came back is committed."""
    _seen.pop(campaign_id, None)
    redis.attempt(lambda client: client.delete(_flag(campaign_id)), otherwise=0)


def forget() -> None:
    """Forget what this process has seen (tests)."""
    _seen.clear()


def _gives_nothing(campaign: Campaign) -> bool:
    if campaign.remaining <= 0:
        return True
    if campaign.code_source == Campaign.CodeSource.GENERATED:
        return False
    available = PoolCode.objects.filter(campaign_id=campaign.pk, status=PoolCode.Status.AVAILABLE)
    return not available.exists()


def _remember(campaign: Campaign, *, until: float) -> None:
    if len(_seen) >= MOST_REMEMBERED:
        _seen.clear()
    seen = _seen.setdefault(campaign.pk, _Seen(campaign, until))
    seen.campaign, seen.until = campaign, until
    milliseconds = int((until - time.monotonic()) * 1000)
    if milliseconds > 0:
        redis.attempt(lambda client: client.set(_flag(campaign.pk), 1, px=milliseconds), otherwise=None)


def _milliseconds_left(client: Redis, campaign_id: int) -> int:
    return int(client.pttl(_flag(campaign_id)))


def _flag(campaign_id: int) -> str:
    return key(campaign_id, "sold-out")
