"""Django's MySQL backend whose connections are watched: a server that hangs keeps nobody waiting.

And whose transactions make fewer trips: BEGIN, and what is written `behind`, go with the next statement or
with COMMIT. After each trip a thread waits for the interpreter, with its rows locked; what is done by one
trip is done however busy the process is.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from django.db import Error
from django.db.backends.mysql import base
from django.db.backends.utils import debug_transaction
from MySQLdb.connections import Connection
from MySQLdb.cursors import Cursor

from shop.db.mysql import watch
from shop.db.mysql.schema import DatabaseSchemaEditor

IDLE_SECONDS_BEFORE_PING = 1.0
BEGIN = b"BEGIN"
# Past it what waits is sent by itself: a server takes packets of a few megabytes at least.
LARGEST_DEFERRED_BYTES = 1 << 20
NO_OPERATION = "DO 0"


class _Cursor(Cursor):
    """Sends what waits in `ahead` by the same trip as its statement, and has that statement's result."""

    ahead: list[bytes]

    def execute(self, query: Any, args: Any = None) -> int:
        if self.ahead:
            statement = self._mogrify(query, args)
            waited = [*self.ahead]
            self.ahead.clear()
            super().execute(b"; ".join([*waited, statement]))
            for _ in waited:
                self.nextset()
            self._executed = statement
        else:
            super().execute(query, args)
        return int(self.rowcount)

    def executemany(self, query: Any, args: Any) -> Any:
        self._send_deferred()
        return super().executemany(query, args)

    def callproc(self, procname: Any, args: Any = ()) -> Any:
        self._send_deferred()
        return super().callproc(procname, args)

    def _send_deferred(self) -> None:
        if self.ahead:
            self.execute(NO_OPERATION)


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
    _used_at = 0.0
    _watch: watch.Watch

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deferred: list[bytes] = []

    def get_new_connection(self, conn_params: Mapping[str, Any]) -> Connection:
        """A watched connection. Raises an error of lost connections at once while the server hangs."""
        self._deferred.clear()
        self._watch = watch.get_watch(conn_params)
        self._watch.refuse_while_hung()
        connection: Connection = super().get_new_connection(conn_params)
        self._watch.add(connection)
        return connection

    def create_cursor(self, name: str | None = None) -> base.CursorWrapper:
        cursor = self.connection.cursor(_Cursor)
        cursor.ahead = self._deferred
        return base.CursorWrapper(cursor)

    def execute_deferred(self, statement: str, parameters: Any = None) -> None:
        """Send this by the trip of the transaction's next statement, which tells what is wrong with it."""
        self.validate_no_broken_transaction()
        with self.cursor() as cursor:
            if self.execute_wrappers or self.queries_logged or not self.in_atomic_block:
                cursor.execute(statement, parameters)
                return
            self._deferred.append(cursor.mogrify(statement, parameters).encode())
            if sum(map(len, self._deferred)) > LARGEST_DEFERRED_BYTES:
                cursor.execute(NO_OPERATION)

    def close_if_unusable_or_obsolete(self) -> None:
        """As Django's, at the end of each request and task; remembers when that was."""
        super().close_if_unusable_or_obsolete()
        self._used_at = time.monotonic()

    def close_if_health_check_failed(self) -> None:
        """As Django's, for connections that have rested: under load each batch would pay for a ping more.

        And never within a transaction, which a connection that isn't there ends in any case.
        """
        if not self.in_atomic_block and time.monotonic() - self._used_at >= IDLE_SECONDS_BEFORE_PING:
            super().close_if_health_check_failed()

    def _start_transaction_under_autocommit(self) -> None:
        """Begin by a statement: turning autocommit off, and on again after it, takes two trips."""
        self._deferred.append(BEGIN)

    def _commit(self) -> None:
        if self._deferred == [BEGIN]:
            self._deferred.clear()
        elif self.connection is not None:
            with self._watch.committing(self.connection):
                self._send_commit()

    def _send_commit(self) -> None:
        if self._deferred:
            # By the connection that began: `cursor()` might open another, which has nothing to commit.
            told = debug_transaction(self, "COMMIT")
            with told, self.wrap_database_errors, closing(self.create_cursor()) as cursor:
                cursor.execute("COMMIT")
        else:
            super()._commit()  # type: ignore[misc]

    def _rollback(self) -> None:
        has_begun = BEGIN not in self._deferred
        self._deferred.clear()
        if has_begun:
            super()._rollback()  # type: ignore[misc]

    def _savepoint(self, sid: str) -> None:
        try:
            super()._savepoint(sid)  # type: ignore[misc]
        except Error:
            # What waited has failed: it came before the savepoint, whose author may mean to go on without it.
            self.needs_rollback = True
            raise

    def _savepoint_rollback(self, sid: str) -> None:
        # What waits came after the savepoint, which was sent at once, and is undone with it.
        self._deferred.clear()
        super()._savepoint_rollback(sid)  # type: ignore[misc]

    def _close(self) -> None:
        self._deferred.clear()
        super()._close()  # type: ignore[misc]
