"""Drops the shop's state in Redis, which is rebuilt from the database when it is needed.

It consists of claims of calls in flight, and of the mirror of stock with its reservations in flight. The
database's locks and unique keys guard all of them, so dropping them at any moment is safe.
"""

from collections.abc import Iterator
from itertools import islice

from shop.redis import redis_client

OWN_KEYS = "firstcome:*"
# Counts of sign-in attempts are only in Redis: dropping them would allow further password guesses.
KEPT_PREFIX = b"firstcome:{throttle}:"
BATCH_SIZE = 500


def drop_keys() -> int:
    """Delete the shop's keys in batches, but no other keys. Returns how many."""
    client = redis_client.client()
    keys = (key for key in client.scan_iter(OWN_KEYS, count=BATCH_SIZE) if not key.startswith(KEPT_PREFIX))
    return sum(int(str(client.unlink(*batch))) for batch in _batches(keys))


def _batches(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(keys, BATCH_SIZE)):
        yield batch
