"""Migrations that were cut short and run again: what is there already is not made a second time.

Neither server undoes an ALTER, and the answer to one can be lost while the server goes on with it. So a
migration that is not recorded may be done in part, or whole. Each of its statements is atomic by itself: one
that finds its table, column, index or constraint there (or gone, where it drops one) has been done before.
"""

from typing import Any

from django.db import Error as DatabaseFailure
from django.db import models
from django.db.backends.mysql import schema
from structlog import get_logger

log = get_logger(__name__)
TABLE_EXISTS = 1050
# A column, an index, a constraint that is there; a CHECK on MySQL.
ALREADY_EXISTS = {1060, 1061, 1826, 3822}
# A table that is not there; a column, index or constraint; a CHECK and any other constraint on MySQL.
ALREADY_DROPPED = {1051, 1091, 3821, 3940}
# MariaDB has no number of its own for a foreign key that is there.
FOREIGN_KEY_EXISTS = (1005, "errno: 121 ")


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Django's, whose statements may be repeated. A rename may not."""

    _creating: type[models.Model] | None = None

    def create_model(self, model: type[models.Model]) -> None:
        outer, self._creating = self._creating, model
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
            log.info("migration statement was done already", statement=str(sql), error=str(error))

    def _was_already_applied(self, error: DatabaseFailure) -> bool:
        code, message = (*error.args, "", "")[:2]
        if code == TABLE_EXISTS:
            return self._creating is not None and self._table_has_columns_of(self._creating)
        if code == FOREIGN_KEY_EXISTS[0]:
            return FOREIGN_KEY_EXISTS[1] in message
        return code in ALREADY_EXISTS | ALREADY_DROPPED

    def _table_has_columns_of(self, model: type[models.Model]) -> bool:
        """Whether the table that is there has the model's columns, and is not another program's.

        It may have more: of a later operation.
        """
        with self.connection.cursor() as cursor:
            described = self.connection.introspection.get_table_description(cursor, model._meta.db_table)
        columns = {column.name for column in described}
        return all(field.column in columns for field in model._meta.local_concrete_fields)
