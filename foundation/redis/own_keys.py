"""The shop's keys in Redis."""

from itertools import islice

from foundation.redis import redis_client

OWN_KEYS = "firstcome:*"
# Counts of sign-in attempts are only in Redis: dropping them would allow further password guesses.
KEPT_PREFIX = b"firstcome:{throttle}:"
BATCH_SIZE = 500


def drop() -> int:
    """Delete the shop's keys in batches, but no other keys. Returns how many.

    Safe at any moment: the database's locks and unique keys guard all that they say.
    """
    client = redis_client.client()
    keys = (key for key in client.scan_iter(OWN_KEYS, count=BATCH_SIZE) if not key.startswith(KEPT_PREFIX))
    deleted = 0
    while batch := list(islice(keys, BATCH_SIZE)):
        deleted += int(str(client.unlink(*batch)))
    return deleted
