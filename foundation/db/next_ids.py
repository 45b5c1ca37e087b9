"""The next id of each table, after a restore: those that the lost time gave out come never again."""

from django.db import connection

from foundation.db import bulk_sql

ID_GAP = 1_000_000
"""More rows than any table gets between a restored state and the mishap."""


def leave_gap() -> None:
    """Raise the next id of each table by `ID_GAP`."""
    if connection.vendor == "mysql":
        _skip_ids()
    else:
        bulk_sql.execute("UPDATE sqlite_sequence SET seq = seq + %s", [ID_GAP])


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
