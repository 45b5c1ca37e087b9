"""Django's MySQL backend whose connections are watched: a server that hangs blocks no request for long."""

import time
from collections.abc import Mapping
from typing import Any

from django.db.backends.mysql import base
from MySQLdb.connections import Connection

from shop.db.mysql import watch
from shop.db.mysql.schema import DatabaseSchemaEditor

IDLE_SECONDS_BEFORE_PING = 1.0


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
    _used_at = 0.0
    _watch: watch.Watch

    def get_new_connection(self, conn_params: Mapping[str, Any]) -> Connection:
        """A watched connection. Raises an error of lost connections at once while the server hangs."""
        self._watch = watch.get_watch(conn_params)
        self._watch.refuse_while_hung()
        connection: Connection = super().get_new_connection(conn_params)
        self._watch.add(connection)
        return connection

    def close_if_unusable_or_obsolete(self) -> None:
        super().close_if_unusable_or_obsolete()
        self._used_at = time.monotonic()

    def close_if_health_check_failed(self) -> None:
        """As Django's, for connections that have rested: under load each batch would pay for a ping more."""
        if not self.in_atomic_block and time.monotonic() - self._used_at >= IDLE_SECONDS_BEFORE_PING:
            super().close_if_health_check_failed()

    def _commit(self) -> None:
        if self.connection is not None:
            with self._watch.committing(self.connection):
                self._send_commit()

    def _send_commit(self) -> None:
        super()._commit()  # type: ignore[misc]
