"""The gate of the strategy `redis_gate`: one script decides which requests are admitted to the database.

Redis keeps a campaign's terms; its members, the accounts that have its coupon or a slot that is being
confirmed; and the accounts in flight, each with a ticket of its number and the time of Redis's clock. Terms
exist only while the members are complete; without them the gate's decision is `UNKNOWN`. Members are a set,
because additions to it may be repeated and come in any order.

If the gate admits too many requests, the database refuses them. `heal` resolves overdue tickets, and drops a
gate that is wrong, because Redis lost some of it or came back with old data, or the update after a commit got
lost. The next request fills it again from the database.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from redis import Redis
from redis.client import Pipeline
from structlog import get_logger

from coupons.models import Campaign, Confirmation, Coupon
from coupons.redis_keys import call_script, campaigns_with_keys, fill_lock, key, require_script, seconds_kept
from shop.db import key_walks
from shop.redis import redis_client

log = get_logger(__name__)
TERMS, MEMBERS, IN_FLIGHT, NUMBERS = "gate", "gate:members", "gate:in-flight", "gate:numbers"
# Members outlive the terms, so that terms never exist without their members.
SECONDS_LONGER = 60
# Accounts of a call, at most.
AT_ONCE = 1_000
# Longer than an undelayed write takes. That a write will never come can't be known: if it is only slow, the
# gate admits one request too many, and the database refuses the last one.
OVERDUE_SECONDS = 3.0

MEMBER, FULL, NOT_OPEN, UNKNOWN = "member", "full", "not open", "unknown"
"""What `ADMIT` says of other requests than those that it admits, or that are a `passenger`."""

ADMIT = """
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then return {'member'} end
local terms = redis.call('HMGET', KEYS[1], 'slots', 'opens', 'closes')
if not terms[1] then return {'unknown'} end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return {'passenger'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now < tonumber(terms[2]) or (terms[3] ~= '' and now >= tonumber(terms[3])) then return {'not open'} end
local taken = redis.call('SCARD', KEYS[2]) + redis.call('HLEN', KEYS[3])
if taken >= tonumber(terms[1]) then return {'full'} end
local ticket = string.format('%.0f:%.0f', redis.call('INCR', KEYS[4]), now)
redis.call('HSET', KEYS[3], ARGV[1], ticket)
local kept = redis.call('PTTL', KEYS[1])
if kept > 0 then
  redis.call('PEXPIRE', KEYS[3], kept)
  redis.call('PEXPIRE', KEYS[4], kept)
end
return {'admitted', ticket}
"""
RELEASE_SLOTS = """
local released = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    released = released + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return released
"""
PUBLISH_TERMS = """
local shown = redis.call('HMGET', KEYS[1], 'version', 'slots', 'opens', 'closes')
if not shown[1] or tonumber(shown[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'slots', ARGV[3], 'opens', ARGV[4], 'closes', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[6])
if shown[2] == ARGV[3] and shown[3] == ARGV[4] and shown[4] == ARGV[5] then return 0 end
return 1
"""
OPEN = """
if redis.call('SCARD', KEYS[2]) < tonumber(ARGV[7]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'slots', ARGV[3], 'opens', ARGV[4], 'closes', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The gate's decision on a request; an admitted one has a ticket, to be released or recorded."""

    says: str
    ticket: str = ""

    @property
    def number(self) -> int:
        """The admission number; requests without a ticket come last."""
        return int(self.ticket.partition(":")[0]) if self.ticket else sys.maxsize


@dataclass(frozen=True, slots=True)
class GateCounts:
    """What the gate counts at one moment, and the campaign's version that its terms were taken from."""

    version: int
    members: int
    in_flight: int


def admit(*, campaign_id: int, user_id: int) -> GateDecision:
    """Admit the account's request, or return why not; a repeat takes no second slot.

    An admitted request takes a slot until `record_results` or `release_slots`. While another request of the
    account is in flight, this one may proceed too. `UNKNOWN`: the gate has to be filled. Raises `Unavailable`
    without Redis.
    """
    reply = require_script(ADMIT, campaign_id, (TERMS, MEMBERS, IN_FLIGHT, NUMBERS), user_id)
    return GateDecision(*(part.decode() for part in reply))


def record_results(campaign: Campaign, *, members: Collection[int], refused: Mapping[int, str]) -> None:
    """Add the members, release the tickets of refused accounts, and publish the terms that were committed."""

    def queue(pipeline: Pipeline) -> None:
        _queue_members(pipeline, campaign, members)
        _queue_releases(pipeline, campaign.pk, refused)
        keys = [key(campaign.pk, name) for name in (TERMS, MEMBERS)]
        pipeline.eval(PUBLISH_TERMS, 2, *keys, *_terms_arguments(campaign))

    _send(queue)


def release_slots(*, campaign_id: int, tickets: Mapping[int, str]) -> int:
    """Release these slots, tickets by account. Returns how many were still held."""

    return sum(_send(lambda pipeline: _queue_releases(pipeline, campaign_id, tickets)))


def add_members(campaign: Campaign, user_ids: Collection[int]) -> None:
    """Make these accounts members, which are no longer in flight."""

    _send(lambda pipeline: _queue_members(pipeline, campaign, user_ids))


def remove_member(*, campaign_id: int, user_id: int) -> None:
    """Remove an account that no longer has a slot of the campaign."""
    redis_client.attempt(lambda client: client.srem(key(campaign_id, MEMBERS), user_id), otherwise=0)


def open(campaign: Campaign, *, members: int) -> bool:
    """Open the gate. False, and not opened, if Redis has lost some of these many members meanwhile."""
    return bool(call_script(OPEN, campaign.pk, (TERMS, MEMBERS), *_terms_arguments(campaign), members))


def publish_terms(campaign: Campaign) -> bool:
    """Publish the campaign's terms, unless newer ones are there or none. True when the terms changed."""
    return bool(call_script(PUBLISH_TERMS, campaign.pk, (TERMS, MEMBERS), *_terms_arguments(campaign)))


def drop(*, campaign_id: int) -> None:
    """Delete the terms and the members; accounts in flight stay in flight."""
    keys = [key(campaign_id, TERMS), key(campaign_id, MEMBERS)]
    redis_client.attempt(lambda client: client.unlink(*keys), otherwise=0)


def refresh(*, campaign_id: int) -> None:
    """Publish the campaign's terms as the database has them now; drop the gate if the strategy is another."""
    campaign = Campaign.objects.filter(pk=campaign_id).first()
    if campaign is not None and campaign.strategy == "redis_gate":
        publish_terms(campaign)
    else:
        drop(campaign_id=campaign_id)


def read_counts(client: Redis, campaign_id: int) -> GateCounts | None:
    """What the gate counts; None while it has no terms."""
    with client.pipeline(transaction=True) as pipeline:
        pipeline.hget(key(campaign_id, TERMS), "version")
        pipeline.scard(key(campaign_id, MEMBERS))
        pipeline.hlen(key(campaign_id, IN_FLIGHT))
        version, members, in_flight = pipeline.execute()
    return None if version is None else GateCounts(int(version), members, in_flight)


def in_flight(client: Redis, campaign_id: int) -> Iterator[tuple[int, str]]:
    """The accounts in flight, and their tickets."""
    for account, ticket in client.hscan_iter(key(campaign_id, IN_FLIGHT), count=AT_ONCE):
        yield int(account), ticket.decode()


def _send(queue: Callable[[Pipeline], None]) -> list[Any]:
    """Send what `queue` queues, as one transaction. Returns the replies; none without Redis."""

    def call(client: Redis) -> list[Any]:
        with client.pipeline(transaction=True) as pipeline:
            queue(pipeline)
            return pipeline.execute()

    return redis_client.attempt(call, otherwise=[])


def _terms_arguments(campaign: Campaign) -> list[int | str]:
    """The arguments of scripts for the terms: how long they are kept, the terms, and how long the members."""
    kept = seconds_kept(campaign)
    closes = "" if campaign.closes_at is None else _milliseconds(campaign.closes_at)
    opens = _milliseconds(campaign.opens_at)
    return [kept, campaign.version, campaign.capacity, opens, closes, kept + SECONDS_LONGER]


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _queue_members(pipeline: Pipeline, campaign: Campaign, user_ids: Collection[int]) -> None:
    if user_ids:
        pipeline.sadd(key(campaign.pk, MEMBERS), *user_ids)
        pipeline.hdel(key(campaign.pk, IN_FLIGHT), *user_ids)
    pipeline.expire(key(campaign.pk, MEMBERS), seconds_kept(campaign) + SECONDS_LONGER)


def _queue_releases(pipeline: Pipeline, campaign_id: int, tickets: Mapping[int, str]) -> None:
    if tickets:
        arguments = [value for pair in tickets.items() for value in pair]
        pipeline.eval(RELEASE_SLOTS, 1, key(campaign_id, IN_FLIGHT), *arguments)


def fill(*, campaign_id: int) -> bool:
    """Fill the gate from the database, and open it, while the campaign goes on issuing.

    A batch that commits meanwhile adds its members itself, whether the gate is open or not, so no account is
    missed. False when another thread is filling the gate, or Redis lost it meanwhile.
    """
    lock = fill_lock(campaign_id)
    if not lock.acquire(blocking=False):
        return False
    try:
        return _fill(Campaign.objects.get(pk=campaign_id))
    finally:
        lock.release()


def _fill(campaign: Campaign) -> bool:
    # Confirmations first: one that becomes a coupon meanwhile is read twice rather than not at all.
    confirming = Confirmation.objects.filter(campaign=campaign)
    for page in key_walks.pages(confirming, size=AT_ONCE, key="account_id"):
        add_members(campaign, [user_id for (user_id,) in page])
    number = 0
    # By position: coupons issued meanwhile come after those already read.
    coupons = Coupon.objects.filter(campaign=campaign, position__gt=0)
    for page in key_walks.pages(coupons, "account_id", size=AT_ONCE, key="position"):
        add_members(campaign, [user_id for _position, user_id in page])
        number += len(page)
    campaign.refresh_from_db()
    is_open = open(campaign, members=number)
    # Changes since the campaign was read went to a gate that was closed; from now on they reach an open one.
    refresh(campaign_id=campaign.pk)
    return is_open


def heal() -> int:
    """Resolve overdue tickets, and drop gates that are wrong. Returns how many of both; 0 without Redis."""
    return sum(
        redis_client.attempt(lambda client, id=id: _heal(client, id), otherwise=0)  # type: ignore[misc]
        for id in campaigns_with_keys("redis_gate").values_list("pk", flat=True)
    )


def numbers_in_flight() -> Mapping[str, int] | None:
    """The number of accounts in flight by campaign, for the metrics; None without Redis."""
    ids = list(campaigns_with_keys("redis_gate").values_list("pk", flat=True))
    return redis_client.attempt(
        lambda client: {str(id): int(client.hlen(key(id, IN_FLIGHT))) for id in ids}, otherwise=None
    )


def _heal(client: Redis, campaign_id: int) -> int:
    before = read_counts(client, campaign_id)
    campaign = Campaign.objects.get(pk=campaign_id)
    after = read_counts(client, campaign_id)
    settled = sum(_resolve_overdue(campaign, overdue) for overdue in _overdue_tickets(client, campaign_id))
    if before is None or after is None:
        return settled
    # Accounts become members after their commit, and stay members: requests under way explain no more.
    taken = campaign.issued + campaign.confirming
    is_short = after.members + after.in_flight < taken
    if before.members > taken or is_short or before.version > campaign.version:
        log.warning("the gate of a campaign was wrong and is filled again", campaign=campaign_id)
        drop(campaign_id=campaign_id)
        return settled + 1
    return settled + publish_terms(campaign)


def _overdue_tickets(client: Redis, campaign_id: int) -> Iterator[dict[int, str]]:
    """The tickets in flight for too long, or from another clock's future, by account, in chunks."""
    seconds, microseconds = client.time()
    now = seconds * 1_000 + microseconds // 1_000
    overdue = (
        (user_id, ticket)
        for user_id, ticket in in_flight(client, campaign_id)
        if abs(now - int(ticket.partition(":")[2])) > OVERDUE_SECONDS * 1_000
    )
    while some := dict(islice(overdue, AT_ONCE)):
        yield some


def _resolve_overdue(campaign: Campaign, overdue: Mapping[int, str]) -> int:
    """Make accounts with a coupon or a confirmation members, and release the slots of the others."""
    owners: set[int] = set()
    for model in (Confirmation, Coupon):
        rows = model._default_manager.filter(campaign_id=campaign.pk, account_id__in=list(overdue))
        owners.update(rows.values_list("account_id", flat=True))
    add_members(campaign, owners)
    release_slots(campaign_id=campaign.pk, tickets={id: overdue[id] for id in overdue if id not in owners})
    log.warning(
        "overdue tickets of a gate are resolved",
        campaign=campaign.pk,
        members=len(owners),
        released=len(overdue) - len(owners),
    )
    return len(overdue)
