"""Redis from the database: what it keeps of the shop's state is dropped, and comes back as it is asked for.

Claims of calls in flight live there, and the mirror of stock with who is in flight past it. The database's
locks and unique keys stand behind all of them, so dropping them at any moment is safe.
"""

from collections.abc import Iterator
from itertools import islice

from shop.redis import redis_client

OURS = "firstcome:*"
# Attempts to sign in are no copy of anything in the database: to drop them would let guessers go on.
KEPT = b"firstcome:{throttle}:"
BATCH = 500


def drop() -> int:
    """Drop our keys, a batch at a time, and leave those of others. Returns how many went."""
    client = redis_client.client()
    keys = (key for key in client.scan_iter(OURS, count=BATCH) if not key.startswith(KEPT))
    return sum(int(str(client.unlink(*batch))) for batch in _batches(keys))


def _batches(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(keys, BATCH)):
        yield batch
