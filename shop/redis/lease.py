"""A lease in Redis on work that is wasteful to do twice at once, and not wrong.

It keeps nothing safe: while Redis is away everybody has it, and who was paused may not be the only one.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from shop.redis import lease_renewal, locks, redis_client
from shop.redis.lease_renewal import Renewal

# Renewed once a second; who was killed keeps others from the work for so long.
LEASE_SECONDS = 5
RENEW_SCRIPT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


@contextmanager
def acquired(name: str) -> Iterator[bool]:
    """Whether the block's work is this one's for as long as it takes; False while it is somebody else's."""
    token = secrets.token_hex(16)
    if not redis_client.attempt(
        lambda client: bool(client.set(name, token, nx=True, ex=LEASE_SECONDS)), otherwise=True
    ):
        yield False
        return

    try:
        with lease_renewal.kept_alive(Renewal(RENEW_SCRIPT, name, [token, LEASE_SECONDS])):
            yield True
    finally:
        redis_client.attempt(lambda client: client.eval(locks.RELEASE_SCRIPT, 1, name, token), otherwise=0)
