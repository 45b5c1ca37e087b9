"""Rebuild the shop's state in Redis from the database, which is authoritative."""

import json as to_json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from foundation.redis import own_keys
from inventory import mirror

LABELS = {"dropped": "keys dropped from Redis", "mirrored": "products mirrored anew"}


class Command(BaseCommand):
    help = "Drop the shop's state in Redis, and rebuild it from the database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, json: bool, **_: Any) -> None:
        try:
            done = {"dropped": own_keys.drop()}
            if mirror.is_used():
                done["mirrored"] = mirror.rebuild()
        except RedisError as error:
            reason = str(error).rstrip(".")
            raise CommandError(f"Redis can't be rebuilt: {reason}. Start it, then run this again.") from error
        text = " ".join(f"{number:,} {LABELS[kind]}." for kind, number in done.items())
        self.stdout.write(to_json.dumps(done) if json else text)
