"""Claims on idempotency keys in Redis, under a lease: duplicates in other processes find them. Without Redis
a claim counts as acquired, and the database decides.
"""

import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from django.conf import settings

from foundation.errors import Rejected
from foundation.lazy_texts import mark
from foundation.redis import redis_client

# One hash tag, because the script uses several keys, and Redis Cluster requires them in one slot.
KEY_PREFIX = "firstcome:{in-flight}:"
ACQUIRE_SCRIPT = """
local ended, lease, firsts = tonumber(ARGV[1]), ARGV[2], {}
for place, name in ipairs(KEYS) do
  local token = ARGV[place + 2]
  if place > ended then
    local is_first = redis.call('SET', name, token, 'NX', 'PX', lease) or redis.call('GET', name) == token
    firsts[place - ended] = is_first and 1 or 0
  elseif redis.call('GET', name) == token then
    redis.call('DEL', name)
  end
end
return firsts
"""


class Claim(NamedTuple):
    """The name of a key in Redis, and the random token that identifies its owner."""

    name: str
    token: str


# While Redis is unavailable the oldest are dropped: their leases expire.
_ended: deque[Claim] = deque(maxlen=1_024)


class InFlight(Rejected):
    """The first call with the key is in flight in another process."""

    def __init__(self) -> None:
        super().__init__(
            mark("The first call with this key is still running; try again."),
            code="idempotency_key_in_flight",
            retry_after=1,
        )


def new_claim(account_id: int, key_hash: str) -> Claim:
    """Create a call's own claim on the account's key; `acquire` makes it effective."""
    # No secret, and made on the event loop, which reading the system's random numbers would halt.
    return Claim(f"{KEY_PREFIX}{account_id}:{key_hash}", f"{random.getrandbits(64):016x}")


def acquire(claims: Sequence[Claim]) -> list[bool]:
    """Acquire these claims, and release those of calls that have ended: False for each that another holds."""
    ended = []
    with suppress(IndexError):
        while True:
            ended.append(_ended.popleft())
    if not (ended or claims):
        return []
    lease = settings.IDEMPOTENCY_LEASE_SECONDS * 1000
    names = [claim.name for claim in (*ended, *claims)]
    tokens = [claim.token for claim in (*ended, *claims)]
    firsts: list[int] | None = redis_client.call_script(ACQUIRE_SCRIPT, names, len(ended), lease, *tokens)
    if firsts is None:
        _ended.extend(ended)
        return [True] * len(claims)
    return list(map(bool, firsts))


def acquire_or_refuse(claims: Sequence[Claim | None]) -> list[InFlight | None]:
    """Acquire these claims; return a refusal for each that another call holds, None otherwise."""
    taken = iter(acquire([claim for claim in claims if claim]))
    return [None if claim is None or next(taken) else InFlight() for claim in claims]


def acquire_or_raise(claim: Claim | None) -> None:
    """Acquire the claim of a call that is decided individually, if it has one; raises its refusal."""
    [refusal] = acquire_or_refuse([claim])
    if refusal:
        raise refusal


def release_later(claim: Claim) -> None:
    """Release the claim with the next round trip to Redis: duplicates find the answer recorded."""
    _ended.append(claim)


def release_ended() -> None:
    acquire([])
