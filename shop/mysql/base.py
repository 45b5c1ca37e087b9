"""Django's MySQL backend whose connections are watched: a server that hangs keeps nobody waiting."""

from collections.abc import Mapping
from typing import Any

from django.db.backends.mysql import base
from MySQLdb.connections import Connection

from shop.mysql import watch


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: Mapping[str, Any]) -> Connection:
        """A watched connection. Raises an error of lost connections at once while the server hangs."""
        keeper = watch.of(conn_params)
        keeper.refuse_while_hung()
        connection: Connection = super().get_new_connection(conn_params)
        keeper.add(connection)
        return connection
