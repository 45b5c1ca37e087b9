"""Claims on idempotency keys in Redis, under a lease: a twin in another process finds its first in flight.

Calls that come while others are on the way to Redis share the next way, and what has ended by then is let go
on it too. Without Redis a claim counts as had, and the database has the last word.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.conf import settings

from shop import redis
from shop.group_commit import Lane

# One hash tag, for the script touches several keys, and Redis Cluster wants them in one place.
NAME = "firstcome:{in-flight}:"
VISIT = """
local ended, lease, firsts = tonumber(ARGV[1]), ARGV[2], {}
for place, name in ipairs(KEYS) do
  local token = ARGV[place + 2]
  if place > ended then
    firsts[place - ended] = redis.call('SET', name, token, 'NX', 'PX', lease) and 1 or 0
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


def take(claim: Claim) -> bool:
    """Whether the key is claimed for this call now; False while another call has it."""
    return _lane.submit(claim)


def let_go_later(claim: Claim) -> None:
    """Let go of it on the next way to Redis: for a call whose answer every twin finds recorded."""
    _ended.append(claim)


def let_go() -> None:
    """Let go at once of all that has ended."""
    _visit([])


def _visit(claims: Sequence[Claim]) -> list[bool]:
    ended = _drained()
    if not (ended or claims):
        return []
    lease = settings.IDEMPOTENCY_LEASE_SECONDS * 1000
    names = [one.name for one in (*ended, *claims)]
    tokens = [one.token for one in (*ended, *claims)]
    firsts: list[int] | None = redis.attempt(
        lambda client: client.eval(VISIT, len(names), *names, len(ended), lease, *tokens), otherwise=None
    )
    if firsts is None:
        _ended.extend(ended)
        return [True] * len(claims)
    return list(map(bool, firsts))


def _drained() -> list[Claim]:
    ended = []
    while True:
        try:
            ended.append(_ended.popleft())
        except IndexError:
            return ended


def _outright(visit: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """No transaction: nothing of it touches the database."""
    return visit()


_lane: Lane[Claim, bool] = Lane(_visit, run=_outright)
