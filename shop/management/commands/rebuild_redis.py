"""Rebuild the shop's state in Redis from the database, which is authoritative."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from coupons import maintenance as coupons
from inventory.mirror import mirror
from shop.operations import redis_rebuild

LABELS = {
    "dropped": "keys dropped from Redis",
    "mirrored": "products mirrored anew",
    "codes_listed": "codes listed anew",
}


class Command(BaseCommand):
    help = "Drop the shop's state in Redis, and rebuild it from the database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, json: bool, **_: Any) -> None:
        try:
            done = {"dropped": redis_rebuild.drop_keys()} | _rebuild()
        except RedisError as error:
            reason = str(error).rstrip(".")
            raise CommandError(f"Redis can't be rebuilt: {reason}. Start it, then run this again.") from error
        self.stdout.write(_as_json(done) if json else _as_text(done))


def _rebuild() -> dict[str, int]:
    """Rebuild what isn't rebuilt on demand; returns the counts."""
    mirrored = {"mirrored": mirror.rebuild()} if mirror.is_used() else {}
    return mirrored | coupons.rebuild()


def _as_json(done: dict[str, int]) -> str:
    return json.dumps(done)


def _as_text(done: dict[str, int]) -> str:
    return " ".join(f"{number:,} {LABELS.get(kind, kind)}." for kind, number in done.items())
