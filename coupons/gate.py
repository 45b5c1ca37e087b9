"""The gate of the strategy `redis_gate`: one script decides which requests are admitted to the database.

Redis keeps a campaign's terms, its members and the accounts in flight. Members have its coupon, or a slot
that is being confirmed. They are a set, because additions may be repeated and come in any order. An account
in flight has a ticket: its number and the time of Redis's clock. Terms exist only while the members are
complete; without terms the gate's decision is `UNKNOWN`.

If the gate admits too many requests, the database refuses them. `heal` resolves overdue tickets, and drops a
wrong gate. A gate is wrong if Redis lost some of it or came back with old data, or if the update after a
commit got lost. The next request fills it again from the database.
"""

import sys
from collections.abc import Collection, Mapping
from functools import partial
from itertools import chain
from typing import NamedTuple

from redis import Redis
from structlog import get_logger

from coupons.models import Campaign
from coupons.redis_keys import call_script, campaigns_with_keys, fill_lock, key, require_script, seconds_kept
from foundation.db import key_walks
from foundation.redis import gates, redis_client
from foundation.redis.gates import AT_ONCE

log = get_logger(__name__)
TERMS = "gate"
MEMBERS = "gate:members"
IN_FLIGHT = "gate:in-flight"
NUMBERS = "gate:numbers"
# Members outlive the terms, so that terms never exist without their members.
SECONDS_LONGER = 60
# An undelayed write takes less. Nothing says that a write will never come. If it is only slow, the gate
# admits one request too many, and the database refuses the last one.
OVERDUE_SECONDS = 3.0

MEMBER = "member"
FULL = "full"
NOT_OPEN = "not open"
UNKNOWN = "unknown"
"""What `ADMIT` says of requests that it doesn't admit, and that are no `passenger`."""

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
# Members are kept for a while from now on, with the terms or without them.
RECORD_RESULTS = (
    """
local refused = 8 + ARGV[7]
for i = 8, refused - 1 do
  redis.call('SADD', KEYS[2], ARGV[i])
  redis.call('HDEL', KEYS[3], ARGV[i])
end
for i = refused, #ARGV, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[3], ARGV[i]) end
end
redis.call('EXPIRE', KEYS[2], ARGV[6])
"""
    + PUBLISH_TERMS
)
COUNT = """
return {redis.call('HGET', KEYS[1], 'version'), redis.call('SCARD', KEYS[2]), redis.call('HLEN', KEYS[3])}
"""
OPEN = """
if redis.call('SCARD', KEYS[2]) < tonumber(ARGV[7]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'slots', ARGV[3], 'opens', ARGV[4], 'closes', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""


class GateDecision(NamedTuple):
    """The gate's decision on a request; an admitted one has a ticket, to be released or recorded."""

    says: str
    ticket: str = ""


class GateCounts(NamedTuple):
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
    """Make members of these accounts, release the tickets of refused ones, and publish the terms."""
    accounts = [len(members), *members, *chain(*refused.items())]
    call_script(
        RECORD_RESULTS, campaign.pk, (TERMS, MEMBERS, IN_FLIGHT), *_terms_arguments(campaign), *accounts
    )


def release_slots(*, campaign_id: int, tickets: Mapping[int, str]) -> int:
    """Release these slots, tickets by account. Returns how many were still held."""
    return int(call_script(RELEASE_SLOTS, campaign_id, (IN_FLIGHT,), *chain(*tickets.items())) or 0)


def remove_member(*, campaign_id: int, user_id: int) -> None:
    """Remove an account that no longer has a slot of the campaign."""
    redis_client.attempt(lambda client: client.srem(key(campaign_id, MEMBERS), user_id), otherwise=0)


def open(campaign: Campaign, *, members: int) -> bool:
    """Open the gate. Returns False, and leaves it closed, if Redis has lost some of so many members
    meanwhile."""
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
    if campaign := Campaign.objects.filter(pk=campaign_id, strategy="redis_gate").first():
        publish_terms(campaign)
    else:
        drop(campaign_id=campaign_id)


def read_counts(client: Redis, campaign_id: int) -> GateCounts | None:
    """What the gate counts; None while it has no terms."""
    keys = [key(campaign_id, name) for name in (TERMS, MEMBERS, IN_FLIGHT)]
    version, *counts = client.eval(COUNT, len(keys), *keys)
    return None if version is None else GateCounts(int(version), *counts)


def _terms_arguments(campaign: Campaign) -> list[int | str]:
    """The arguments of scripts for the terms: how long they are kept, the terms, and how long the members."""
    kept = seconds_kept(campaign)
    # A process that doesn't know yet that the campaign is for everybody by now may still ask its gate.
    slots = sys.maxsize if campaign.capacity is None else campaign.capacity
    times = (campaign.opens_at, campaign.closes_at)
    opens, closes = ("" if at is None else int(at.timestamp() * 1000) for at in times)
    return [kept, campaign.version, slots, opens, closes, kept + SECONDS_LONGER]


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
    for page in key_walks.pages(campaign.confirmations.all(), size=AT_ONCE, key="account_id"):
        record_results(campaign, members=[user_id for (user_id,) in page], refused={})
    number = 0
    # By position: coupons issued meanwhile come after those already read.
    coupons = campaign.coupons.filter(position__gt=0)
    for page in key_walks.pages(coupons, "account_id", size=AT_ONCE, key="position"):
        record_results(campaign, members=[user_id for _position, user_id in page], refused={})
        number += len(page)
    campaign.refresh_from_db()
    is_open = open(campaign, members=number)
    # Changes since the campaign was read went to a gate that was closed; from now on they reach an open one.
    refresh(campaign_id=campaign.pk)
    return is_open


def heal() -> int:
    """Resolve overdue tickets, and drop gates that are wrong. Returns how many of both; 0 without Redis."""
    return sum(
        redis_client.attempt(partial(_heal, campaign_id=id), otherwise=0)
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
    settled = _resolve_overdue(client, campaign)
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


def _resolve_overdue(client: Redis, campaign: Campaign) -> int:
    """Resolve overdue tickets; returns how many.

    Accounts with a coupon or a confirmation become members, and the slots of the others are released.
    """
    seconds, microseconds = client.time()
    resolved = 0
    for some in gates.overdue(
        client,
        key(campaign.pk, IN_FLIGHT),
        admitted_at=lambda ticket: int(ticket.partition(b":")[2]) / 1_000,
        now=seconds + microseconds / 1e6,
        seconds=OVERDUE_SECONDS,
    ):
        resolved += len(some)
        tickets = {int(account): ticket for account, ticket in some.items()}
        owners: set[int] = set()
        for rows in (campaign.confirmations, campaign.coupons):
            owners.update(rows.filter(account_id__in=tickets).values_list("account_id", flat=True))
        refused = {id: ticket for id, ticket in tickets.items() if id not in owners}
        record_results(campaign, members=owners, refused=refused)
        log.warning(
            "overdue tickets of a gate are resolved",
            campaign=campaign.pk,
            members=len(owners),
            released=len(refused),
        )
    return resolved
