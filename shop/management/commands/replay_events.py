"""Look at the events that were not delivered and won't be, and have them delivered after all."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from shop import outbox, replaying
from shop.json_bodies import dump
from shop.models import JournalLine


class Command(BaseCommand):
    help = "List the dead events; with --all or their ids, queue them to be delivered again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=_number, metavar="evt_...", help="what to replay")
        parser.add_argument("--all", action="store_true", help="replay every dead event")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, ids: list[int], all: bool, json: bool, **_: Any) -> None:
        if ids and all:
            raise CommandError("Give either ids or --all.")
        dead = replaying.dead()
        _require_dead(set(ids) - {line.pk for line in dead})
        replayed = replaying.replay([line.pk for line in dead] if all else ids)
        left = [line for line in dead if line.pk not in replayed]
        if json:
            self.stdout.write(_as_json(replayed, left))
        elif ids or all:
            self.stdout.write(f"{len(replayed)} queued again: they are delivered within seconds.")
        else:
            self.stdout.write("\n".join(map(_told, left)) or "No event is dead.")


def _number(text: str) -> int:
    number = text.removeprefix("evt_")
    if not (number.isascii() and number.isdigit()):
        raise ArgumentTypeError(f"{text} is no event's id: they look like evt_42.")
    return int(number)


def _require_dead(others: set[int]) -> None:
    if others:
        names = ", ".join(map(outbox.event_id, sorted(others)))
        raise CommandError(f"Not dead, so nothing was replayed: {names}.")


def _told(line: JournalLine) -> str:
    happened = f"{line.at:%Y-%m-%d %H:%M:%S}  {line.what}  {line.subject}"
    return f"{outbox.event_id(line.pk)}  {happened}: {line.last_error}"


def _as_json(replayed: list[int], dead: list[JournalLine]) -> str:
    return dump(
        {
            "replayed": [outbox.event_id(pk) for pk in replayed],
            "dead": [
                {
                    "id": outbox.event_id(line.pk),
                    "type": line.what,
                    "subject": line.subject,
                    "order": str(line.order_id) if line.order_id else None,
                    "occurred_at": line.at,
                    "attempts": line.attempts,
                    "last_error": line.last_error,
                }
                for line in dead
            ],
        }
    ).decode()
