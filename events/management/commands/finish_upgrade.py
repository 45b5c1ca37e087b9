"""Let the event feed give positions as this release does, once no process of release 2.0 runs any more."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from events.feed import sequencing


class Command(BaseCommand):
    help = (
        "Let the event feed give positions to the events of a transaction together, once the last process of "
        "release 2.0 has ended. The shop may go on; a repeat does nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--back", action="store_true", help="before processes of 2.0 start again: give each event its own"
        )

    def handle(self, *, back: bool, **_: Any) -> None:
        if back:
            sequencing.go_by_events()
            self.stdout.write("Each event has its own position: processes of release 2.0 may start.")
        else:
            sequencing.go_by_runs()
            self.stdout.write("The events of a transaction get their positions together from now on.")
