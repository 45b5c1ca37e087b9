"""Django's MySQL backend whose connections are watched: a server that hangs blocks no request for long.

Its migrations can be run again after an interruption.
"""

import time
from typing import Any

from django.db import Error as DatabaseFailure, models
from django.db.backends.mysql import base, schema
from MySQLdb.connections import Connection
from structlog import get_logger

from foundation.db.mysql import watch
from foundation.values import GivenValues

log = get_logger(__name__)
IDLE_SECONDS_BEFORE_PING = 1.0
TABLE_EXISTS = 1050
# A column, an index, a constraint; a CHECK on MySQL.
ALREADY_EXISTS = {1060, 1061, 1826, 3822}
# A table; a column, index or constraint; a CHECK and any other constraint on MySQL.
ALREADY_DROPPED = {1051, 1091, 3821, 3940}
# MariaDB has no error number of its own for a foreign key that exists.
FOREIGN_KEY_EXISTS = (1005, "errno: 121 ")


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Django's schema editor, whose statements may be repeated, except for renames: after an interruption
    those that were already applied are skipped.

    No server can roll back an ALTER, and its reply can be lost. Each statement is atomic: if its table,
    column, index or constraint already exists (or is already dropped), the statement was applied.
    """

    _creating: type[models.Model] | None = None

    def create_model(self, model: type[models.Model]) -> None:
        outer = self._creating
        self._creating = model
        try:
            super().create_model(model)
        finally:
            self._creating = outer

    def execute(self, sql: Any, params: Any = ()) -> None:
        try:
            super().execute(sql, params)
        except DatabaseFailure as error:
            if not self._was_already_applied(error):
                raise
            log.info("migration statement was already applied", statement=str(sql), error=error)

    def _was_already_applied(self, error: DatabaseFailure) -> bool:
        code, message = (*error.args, "", "")[:2]
        if code == TABLE_EXISTS:
            return self._creating is not None and self._table_has_columns_of(self._creating)
        if code == FOREIGN_KEY_EXISTS[0]:
            return FOREIGN_KEY_EXISTS[1] in message
        return code in ALREADY_EXISTS | ALREADY_DROPPED

    def _table_has_columns_of(self, model: type[models.Model]) -> bool:
        """Whether the existing table has the model's columns, beside those of later operations."""
        with self.connection.cursor() as cursor:
            described = self.connection.introspection.get_table_description(cursor, model._meta.db_table)
        columns = {column.name for column in described}
        return all(field.column in columns for field in model._meta.local_concrete_fields)


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
    _used_at = 0.0
    _watch: watch.Watch

    def get_new_connection(self, conn_params: GivenValues) -> Connection:
        """A watched connection. Raises an error of lost connections at once while the server hangs."""
        self._watch = watch.get_watch(conn_params)
        self._watch.refuse_while_hung()
        connection: Connection = super().get_new_connection(conn_params)
        self._watch.add(connection)
        return connection

    def close_if_health_check_failed(self) -> None:
        """As Django's, for connections that have rested: under load each batch would pay for a ping more."""
        now = time.monotonic()
        if not self.in_atomic_block and now - self._used_at >= IDLE_SECONDS_BEFORE_PING:
            super().close_if_health_check_failed()
        self._used_at = now

    def _commit(self) -> None:
        if self.connection is not None:
            with self._watch.committing(self.connection):
                self._send_commit()

    def _send_commit(self) -> None:
        super()._commit()  # type: ignore[misc]
