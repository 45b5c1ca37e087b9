"""Redis from the database: what it keeps of the shop's state is dropped, and comes back as it is asked for.

Claims of calls in flight live there, and the mirror of stock with who is in flight past it. The database's
locks and unique keys stand behind all of them, so dropping them at any moment is safe.
"""

from collections.abc import Iterator
from itertools import islice

from shop.redis import redis_client

OWN_KEYS = "firstcome:*"
# Attempts to sign in are no copy of anything in the database: to drop them would let guessers go on.
KEPT_PREFIX = b"firstcome:{throttle}:"
BATCH_SIZE = 500


def drop_keys() -> int:
    """Drop our keys, a batch at a time, and leave those of others. Returns how many went."""
    client = redis_client.client()
    keys = (key for key in client.scan_iter(OWN_KEYS, count=BATCH_SIZE) if not key.startswith(KEPT_PREFIX))
    return sum(int(str(client.unlink(*batch))) for batch in _batches(keys))


def _batches(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(keys, BATCH_SIZE)):
        yield batch
