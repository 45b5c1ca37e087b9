"""Claims on idempotency keys in Redis, under a lease: a duplicate elsewhere finds the first in flight.

The calls of a batch share one way to Redis, and what has ended by then is let go on it too. Without Redis a
claim counts as had, and the database has the last word.
"""

import secrets
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from django.conf import settings

from shop.errors import Rejected
from shop.redis import redis_client

# One hash tag, for the script touches several keys, and Redis Cluster wants them in one place.
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
    """A key's name in Redis, and the word by which one knows one's own."""

    name: str
    token: str


# While Redis is away the oldest are forgotten: their leases let go of them.
_ended: deque[Claim] = deque(maxlen=1_024)


class InFlight(Rejected):
    """The first call with the key runs elsewhere."""

    def __init__(self) -> None:
        super().__init__(
            "The first call with this key is still running; ask again.",
            code="idempotency_key_in_flight",
            retry_after=1,
        )


def new_claim(account_id: int, key_hash: str) -> Claim:
    """A claim of one call's own on the account's key; `take` makes it good."""
    return Claim(f"{KEY_PREFIX}{account_id}:{key_hash}", secrets.token_hex(8))


def acquire(claims: Sequence[Claim]) -> list[bool]:
    """Whether each is had now; False while another call has it. Who has it may take it again.

    What has ended is let go of on the same way.
    """
    ended = _drain_ended()
    if not (ended or claims):
        return []
    lease = settings.IDEMPOTENCY_LEASE_SECONDS * 1000
    names = [one.name for one in (*ended, *claims)]
    tokens = [one.token for one in (*ended, *claims)]
    firsts: list[int] | None = redis_client.attempt(
        lambda client: client.eval(ACQUIRE_SCRIPT, len(names), *names, len(ended), lease, *tokens),
        otherwise=None,
    )
    if firsts is None:
        _ended.extend(ended)
        return [True] * len(claims)
    return list(map(bool, firsts))


def acquire_or_refuse(claims: Sequence[Claim | None]) -> list[InFlight | None]:
    """Take all of these, and say for each why its call can't go on, if so; a call without one may."""
    taken = iter(acquire([claim for claim in claims if claim]))
    return [None if claim is None or next(taken) else InFlight() for claim in claims]


def acquire_or_raise(claim: Claim | None) -> None:
    """Take the claim of a call that is decided alone, if it has one; raises its refusal."""
    [refusal] = acquire_or_refuse([claim])
    if refusal:
        raise refusal


def release_later(claim: Claim) -> None:
    """Let go of it on the next way to Redis: for a call whose answer every duplicate finds recorded."""
    _ended.append(claim)


def release_ended() -> None:
    """Let go at once of all that has ended."""
    acquire([])


def _drain_ended() -> list[Claim]:
    ended = []
    while True:
        try:
            ended.append(_ended.popleft())
        except IndexError:
            return ended
