"""The mark of a restore that has not ended: a table that it makes first and drops last."""

from django.db.backends.base.base import BaseDatabaseWrapper

from shop.operations.backups.programs import BackupFailed

TABLE = "incomplete_restore"


def is_marked(connection: BaseDatabaseWrapper) -> bool:
    """Whether a restore into the connection's database is under way, or was interrupted."""
    return TABLE in connection.introspection.table_names()


def require_unmarked(connection: BaseDatabaseWrapper) -> None:
    """Raise BackupFailed if a restore into the connection's database was interrupted."""
    if is_marked(connection):
        name = connection.settings_dict["NAME"]
        raise BackupFailed(
            f"The restore into the database {name} was interrupted: drop the database, and restore again."
        )


def mark(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (begun_at DATETIME NOT NULL PRIMARY KEY)")


def unmark(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")
