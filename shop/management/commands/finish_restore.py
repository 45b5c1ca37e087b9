"""Finish a restore: no table is missing, and nothing given out in the lost time is given out again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from events.feed import sequencing
from foundation.db import next_ids
from foundation.db.next_ids import ID_GAP
from orders import rows as order_rows

NEXT = "Now: rebuild_redis, reconcile, reconcile --fix, audit. Only then start the processes."


class Command(BaseCommand):
    help = (
        "After a backup is restored by the server's own programs, and after migrate: check that no table is"
        " missing, and raise the next id of each table and the next position of the event feed, so that those"
        " of the lost time never come again."
    )

    def handle(self, **_: Any) -> None:
        tables = connection.introspection
        missing = {*tables.django_table_names()} - {*tables.table_names()}
        if missing:
            raise CommandError(
                f"Tables are missing: {', '.join(sorted(missing))}. The backup is cut short, or migrate has"
                " not run: restore a whole one into an empty database."
            )
        next_ids.leave_gap()
        sequencing.leave_gap()
        order_rows.leave_gap()
        self.stdout.write(
            f"The next ids, and the next position of the event feed, are {ID_GAP:,} further on. {NEXT}"
        )
