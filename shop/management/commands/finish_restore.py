"""Finish a restore: no table is missing, and nothing given out in the lost time is given out again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from events.feed import sequencing
from foundation.db import bulk_sql
from orders import order_numbers

ID_GAP = 1_000_000
"""More rows than any table gets between a restored state and the mishap."""
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
        if connection.vendor == "mysql":
            _skip_ids()
        else:
            bulk_sql.execute("UPDATE sqlite_sequence SET seq = seq + %s", [ID_GAP])
        sequencing.leave_gap()
        order_numbers.leave_gap()
        self.stdout.write(
            f"The next ids, and the next position of the event feed, are {ID_GAP:,} further on. {NEXT}"
        )


def _skip_ids() -> None:
    if not getattr(connection, "mysql_is_mariadb", False):
        bulk_sql.execute("SET SESSION information_schema_stats_expiry = 0")
    found = bulk_sql.fetch(
        # MySQL has no next id for a table without rows.
        "SELECT table_name, COALESCE(auto_increment, 1)"
        " FROM information_schema.tables JOIN information_schema.columns USING (table_schema, table_name)"
        " WHERE table_schema = DATABASE() AND extra LIKE '%auto_increment%'"
    )
    for table, following in found:
        quoted = connection.ops.quote_name(table)
        bulk_sql.execute(f"ALTER TABLE {quoted} AUTO_INCREMENT = {int(following) + ID_GAP}")
