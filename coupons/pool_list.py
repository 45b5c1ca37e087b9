"""The codes of a campaign's pool as a list in Redis: each request claims the next one by `LMOVE`.

A claimed code is in flight until the database has decided. The list is filled in chunks as it runs empty, in
the order of the pool; the marker `listed-up-to` tells a list that is used up from one that was lost.

The list may name a code that is issued already, or one code twice: a request with such a code gets another
one from the database, which alone decides. So every step here may be lost or repeated.
"""

from prometheus_client import Counter
from structlog import get_logger

from coupons import rows
from coupons.models import Campaign
from coupons.redis_keys import call_script, campaigns_with_keys, fill_lock, key, require_script, seconds_kept
from foundation.redis import redis_client

log = get_logger(__name__)
GIVEN_BACK = Counter(
    "firstcome_pool_codes_given_back",
    "Codes that a crashed process had claimed from the list, returned by the sweeper.",
)
# Longer than a request may wait for its batch, and its batch for the database's locks. If one takes even
# longer, two requests claim the same code, and the database assigns it to the first.
IN_FLIGHT_SECONDS = 30
CHUNK = 2_000
# How often one request fills a list that others empty meanwhile, before the database has to assign a code.
FILLS = 3
# For this long a pool counts as having no more codes to list: a request that finds the list empty doesn't
# query.
NOTHING_MORE_MILLISECONDS = 1_000
ABANDONED_AT_ONCE = 500
CODES = "codes"
IN_FLIGHT = "codes-in-flight"
LISTED_UP_TO = "codes-listed-up-to"
NOTHING_MORE = "codes-nothing-more"
NAMES = (CODES, IN_FLIGHT, "codes-takers", "codes-taken-at", LISTED_UP_TO, NOTHING_MORE)

CLAIM_CODE = """
local code = redis.call('HGET', KEYS[3], ARGV[1])
if not code then
  code = redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
  if not code then
    if redis.call('EXISTS', KEYS[6]) == 1 then return {'nothing'} end
    return {'fill', redis.call('GET', KEYS[5]) or '0'}
  end
  redis.call('HSET', KEYS[3], ARGV[1], code)
end
redis.call('ZADD', KEYS[4], redis.call('TIME')[1], ARGV[1])
for i = 1, 5 do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
return {'code', code}
"""
FILL = """
if (redis.call('GET', KEYS[5]) or '0') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[5], ARGV[2])
if #ARGV == 4 then redis.call('SET', KEYS[6], 1, 'PX', ARGV[4]) end
local taken, filled = {}, 0
for _, code in ipairs(redis.call('HVALS', KEYS[3])) do taken[code] = true end
for i = 5, #ARGV do
  if not taken[ARGV[i]] then
    redis.call('RPUSH', KEYS[1], ARGV[i])
    filled = filled + 1
  end
end
for i = 1, 5 do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
return filled
"""
# The code goes into the list only if there is one; else it will be read from the database with the others.
PUT = """
local function put(code)
  if redis.call('EXISTS', KEYS[5]) == 0 then return end
  redis.call('LPUSH', KEYS[1], code)
  redis.call('EXPIRE', KEYS[1], redis.call('TTL', KEYS[5]))
  redis.call('DEL', KEYS[6])
end
"""
RESOLVE_CODE = (
    PUT
    + """
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('LREM', KEYS[2], 1, ARGV[2])
if ARGV[3] == 'back' then put(ARGV[2]) end
return 1
"""
)
PUT_ONE = PUT + "put(ARGV[1])"
FIND_ABANDONED = """
local long_ago = redis.call('TIME')[1] - ARGV[1]
local abandoned = {}
for _, account in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', long_ago, 'LIMIT', 0, ARGV[2])) do
  local code = redis.call('HGET', KEYS[3], account)
  if code then
    table.insert(abandoned, account)
    table.insert(abandoned, code)
  else
    redis.call('ZREM', KEYS[4], account)
  end
end
return abandoned
"""


def claim_code(campaign: Campaign, *, user_id: int) -> str | None:
    """Claim the next code, which is then in flight for this account, or return the one that already is.

    None when the pool has no more to list; the database decides whether it is sold out. Call `resolve_code`
    once the database has decided. Raises `Unavailable` without Redis.
    """
    code, cursor = _try_claim(campaign, user_id)
    if cursor is None:
        return code
    with fill_lock(campaign.pk):
        for _ in range(FILLS):
            code, cursor = _try_claim(campaign, user_id)
            if cursor is None:
                break
            fill(campaign, after_id=cursor)
    return code


def _try_claim(campaign: Campaign, user_id: int) -> tuple[str | None, int | None]:
    """The code, or, if the list has to be filled, the id of the last code that was listed."""
    match require_script(CLAIM_CODE, campaign.pk, NAMES, user_id, seconds_kept(campaign)):
        case [b"code", code]:
            return code.decode(), None
        case [b"fill", cursor]:
            return None, int(cursor)
    return None, None


def resolve_code(campaign_id: int, *, user_id: int, code: str, is_spent: bool) -> bool:
    """Mark the code as spent, or return it to the list. False when it was resolved before, or lost."""
    return bool(call_script(RESOLVE_CODE, campaign_id, NAMES, user_id, code, "spent" if is_spent else "back"))


def return_code(campaign_id: int, *, code: str) -> None:
    """List a code that has become available again; if this fails, the database still has it."""
    call_script(PUT_ONE, campaign_id, NAMES, code)


def drop(campaign_id: int) -> None:
    """Delete the list, which is then read from the database again; codes in flight stay in flight."""
    keys = [key(campaign_id, name) for name in (CODES, LISTED_UP_TO, NOTHING_MORE)]
    redis_client.attempt(lambda client: client.delete(*keys), otherwise=0)


def fill(campaign: Campaign, *, after_id: int) -> int:
    """List the pool's next available codes, unless another process just has. Returns how many."""
    available = rows.available_codes(campaign.pk).filter(pk__gt=after_id)
    listed = list(available.order_by("pk").values_list("pk", "code")[:CHUNK])
    up_to = listed[-1][0] if listed else after_id
    codes = [code for _, code in listed]
    arguments: list[str | int] = [after_id, up_to, seconds_kept(campaign), NOTHING_MORE_MILLISECONDS]
    return int(call_script(FILL, campaign.pk, NAMES, *arguments, *codes) or 0)


def heal(*, after_seconds: int = IN_FLIGHT_SECONDS) -> int:
    """Resolve codes that were claimed so long ago and are still in flight; returns how many.

    An empty list whose pool has available codes has lost them, and is dropped to be filled again.
    """
    resolved = 0
    for campaign in campaigns_with_keys("code_pool"):
        resolved += _resolve_abandoned(campaign.pk, after_seconds)
        if _is_used_up(campaign.pk) and rows.available_codes(campaign.pk).exists():
            drop(campaign.pk)
    return resolved


def _is_used_up(campaign_id: int) -> bool:
    """Whether the list exists, is empty, and has no code in flight."""
    codes, in_flight, listed_up_to = (key(campaign_id, name) for name in (CODES, IN_FLIGHT, LISTED_UP_TO))
    return redis_client.attempt(
        lambda client: bool(client.exists(listed_up_to)) and not client.exists(codes, in_flight),
        otherwise=False,
    )


def _resolve_abandoned(campaign_id: int, after_seconds: int) -> int:
    """Return to the list the abandoned codes that are available in the database, and drop the others.

    They are `ABANDONED_AT_ONCE` at most, those that were claimed first.
    """
    reply = call_script(FIND_ABANDONED, campaign_id, NAMES, after_seconds, ABANDONED_AT_ONCE)
    if not reply:
        return 0
    parts = [part.decode() for part in reply]
    abandoned = dict(zip(parts[::2], parts[1::2], strict=True))
    codes = rows.available_codes(campaign_id).filter(code__in=abandoned.values())
    available = set(codes.values_list("code", flat=True))
    resolved = [
        code
        for user_id, code in abandoned.items()
        if resolve_code(campaign_id, user_id=int(user_id), code=code, is_spent=code not in available)
    ]
    returned = len(available.intersection(resolved))
    GIVEN_BACK.inc(returned)
    log.warning("codes in flight were resolved", campaign=campaign_id, all=len(resolved), back=returned)
    return len(resolved)
