"""Django's MySQL backend whose connections are watched: a server that hangs keeps nobody waiting."""

import time
from collections.abc import Mapping
from typing import Any

from django.db.backends.mysql import base
from MySQLdb.connections import Connection

from shop.mysql import watch

RESTED_SECONDS = 1.0


class DatabaseWrapper(base.DatabaseWrapper):
    _used_at = 0.0

    def get_new_connection(self, conn_params: Mapping[str, Any]) -> Connection:
        """A watched connection. Raises an error of lost connections at once while the server hangs."""
        keeper = watch.of(conn_params)
        keeper.refuse_while_hung()
        connection: Connection = super().get_new_connection(conn_params)
        keeper.add(connection)
        return connection

    def close_if_unusable_or_obsolete(self) -> None:
        """As Django's, at the end of each request and task; remembers when that was."""
        super().close_if_unusable_or_obsolete()
        self._used_at = time.monotonic()

    def close_if_health_check_failed(self) -> None:
        """As Django's, for connections that have rested: under load each batch would pay for a ping more.

        And never within a transaction, which a connection that isn't there ends in any case.
        """
        if not self.in_atomic_block and time.monotonic() - self._used_at >= RESTED_SECONDS:
            super().close_if_health_check_failed()

    def _start_transaction_under_autocommit(self) -> None:
        """Begin by one statement: turning autocommit off, and on again after it, takes a trip more."""
        self.cursor().execute("BEGIN")
