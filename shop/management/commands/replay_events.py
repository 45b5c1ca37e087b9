"""List the dead events, and replay them."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from shop.events import replaying
from shop.events.replaying import EventFilter
from shop.http.json_format import dump
from shop.management import arguments
from shop.models import JournalLine
from shop.normalization import normalized


class Command(BaseCommand):
    help = (
        "List the dead events, all or those that match; with --all or their ids, queue them to be delivered "
        "again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=UUID, metavar="id", help="an event to replay")
        parser.add_argument("--all", action="store_true", help="replay every dead event that matches")
        parser.add_argument("--type", default="", help="such as order.paid, or order. for all of orders")
        parser.add_argument(
            "--since", type=arguments.instant, help="that happened since: 2026-11-21T14:30 (UTC)"
        )
        parser.add_argument("--before", type=arguments.instant, help="that happened before")
        parser.add_argument("--order", type=UUID, help="of this order")
        parser.add_argument("--reason", type=normalized, default="", help="why; the journal keeps it")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(
        self, *, ids: list[UUID], all: bool, type: str, reason: str, json: bool, **options: Any
    ) -> None:
        if ids and all:
            raise CommandError("Give either ids or --all.")
        matching = EventFilter(
            what=type, since=options["since"], before=options["before"], order_id=options["order"]
        )
        dead = list(matching.lines())
        if others := set(ids) - {line.event_id for line in dead}:
            names = ", ".join(sorted(map(str, others)))
            raise CommandError(f"Not dead, so nothing was replayed: {names}.")
        replayed = replaying.replay([line.pk for line in dead if all or line.event_id in ids], reason=reason)
        left = [line for line in dead if line.pk not in replayed]
        if json:
            self.stdout.write(_as_json([line for line in dead if line.pk in replayed], left))
        elif ids or all:
            self.stdout.write(f"{len(replayed)} queued again: they are delivered within seconds.")
        else:
            self.stdout.write("\n".join(map(_as_text, left)) or "No event is dead.")


def _as_text(line: JournalLine) -> str:
    happened = f"{line.at:%Y-%m-%d %H:%M:%S}  {line.what}  {line.subject}"
    return f"{line.event_id}  {happened}: {line.last_error}"


def _as_json(replayed: list[JournalLine], dead: list[JournalLine]) -> str:
    listed = [
        {
            "id": line.event_id,
            "type": line.what,
            "subject": line.subject,
            "order": line.order_id,
            "occurred_at": line.at,
            "attempts": line.attempts,
            "last_error": line.last_error,
        }
        for line in dead
    ]
    return dump({"replayed": [line.event_id for line in replayed], "dead": listed}).decode()
