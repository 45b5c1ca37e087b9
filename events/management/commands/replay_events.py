"""List the dead events, and replay them."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from events.models import WebhookDelivery
from events.webhooks import deliveries
from foundation.http.json_format import dump
from foundation.management import arguments
from foundation.normalization import normalized


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
        rows = deliveries.find_dead(
            type=type, since=options["since"], before=options["before"], order_id=options["order"]
        )
        dead = list(rows)
        if others := set(ids) - {line.event_id for line in dead}:
            names = ", ".join(sorted(map(str, others)))
            raise CommandError(f"Not dead, so nothing was replayed: {names}.")
        chosen = [row.pk for row in dead if all or row.event_id in ids]
        replayed = set(deliveries.resend_dead(chosen, reason=reason))
        left = [row for row in dead if row.pk not in replayed]
        if json:
            self.stdout.write(_as_json([row for row in dead if row.pk in replayed], left))
        elif ids or all:
            self.stdout.write(f"{len(replayed)} queued again: they are delivered within seconds.")
        else:
            self.stdout.write("\n".join(map(_as_text, left)) or "No event is dead.")


def _as_text(row: WebhookDelivery) -> str:
    about = f"  order {row.order_id}" if row.order_id else ""
    return f"{row.event_id}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.type}{about}: {row.error}"


def _as_json(replayed: list[WebhookDelivery], dead: list[WebhookDelivery]) -> str:
    listed = [
        {
            "id": row.event_id,
            "type": row.type,
            "order": row.order_id,
            "data": (row.payload or {}).get("data"),
            "occurred_at": (row.payload or {}).get("at") or row.created_at,
            "attempts": row.attempts,
            "last_error": row.error,
        }
        for row in dead
    ]
    return dump({"replayed": [row.event_id for row in replayed], "dead": listed}).decode()
