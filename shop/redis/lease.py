"""A lease in Redis for work that is wasteful, but not wrong, to do twice at once.

It is not a guarantee: while Redis is unavailable every process gets it, and a process that was paused may
have lost it to another.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from shop.redis import lease_renewal, locks, redis_client
from shop.redis.lease_renewal import Renewal

# Renewed once a second. The lease of a killed process blocks the others for this long.
LEASE_SECONDS = 5
RENEW_SCRIPT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


@contextmanager
def acquired(name: str) -> Iterator[bool]:
    """Yield True and hold the lease while the block runs, or yield False while another process holds it."""
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
