"""Rebuild the shop's state in Redis from the database, which is authoritative."""

import json as to_json
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from foundation.redis import redis_client
from inventory.mirror import mirror

LABELS = {"dropped": "keys dropped from Redis", "mirrored": "products mirrored anew"}
OWN_KEYS = "firstcome:*"
# Counts of sign-in attempts are only in Redis: dropping them would allow further password guesses.
KEPT_PREFIX = b"firstcome:{throttle}:"
BATCH_SIZE = 500


class Command(BaseCommand):
    help = "Drop the shop's state in Redis, and rebuild it from the database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, json: bool, **_: Any) -> None:
        try:
            done = {"dropped": drop_keys()}
            if mirror.is_used():
                done["mirrored"] = mirror.rebuild()
        except RedisError as error:
            reason = str(error).rstrip(".")
            raise CommandError(f"Redis can't be rebuilt: {reason}. Start it, then run this again.") from error
        text = " ".join(f"{number:,} {LABELS[kind]}." for kind, number in done.items())
        self.stdout.write(to_json.dumps(done) if json else text)


def drop_keys() -> int:
    """Delete the shop's keys in batches, but no other keys. Returns how many.

    Safe at any moment: the database's locks and unique keys guard all that they say.
    """
    client = redis_client.client()
    keys = (key for key in client.scan_iter(OWN_KEYS, count=BATCH_SIZE) if not key.startswith(KEPT_PREFIX))
    deleted = 0
    while batch := list(islice(keys, BATCH_SIZE)):
        deleted += int(str(client.unlink(*batch)))
    return deleted
