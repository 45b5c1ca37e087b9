"""Bring Redis back in line with the database, which alone decides."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import RedisError

from inventory import mirror
from shop import rebuilding


class Command(BaseCommand):
    help = "Drop what Redis keeps of the shop's state; the shop fills it again from the database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, json: bool, **_: Any) -> None:
        try:
            dropped = rebuilding.drop()
            mirrored = mirror.rebuild() if mirror.is_used() else None
        except RedisError as error:
            reason = str(error).rstrip(".")
            raise CommandError(f"Redis can't be rebuilt: {reason}. Start it, then run this again.") from error
        self.stdout.write(_as_json(dropped, mirrored) if json else _told(dropped, mirrored))


def _as_json(dropped: int, mirrored: int | None) -> str:
    return json.dumps({"dropped": dropped} | ({} if mirrored is None else {"mirrored": mirrored}))


def _told(dropped: int, mirrored: int | None) -> str:
    mirror_told = "" if mirrored is None else f" {mirrored:,} products mirrored anew."
    return f"{dropped:,} keys dropped from Redis.{mirror_told}"
