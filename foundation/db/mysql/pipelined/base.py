"""The MySQL backend with fewer round trips: BEGIN, and what is written by `execute_deferred`, go with the
transaction's next statement or with COMMIT.

After each round trip a thread waits for the interpreter, with its rows locked. What this relies on beyond the
public interfaces of Django and mysqlclient is held by `foundation/tests/test_pipelining.py`.
"""

from contextlib import closing, suppress
from typing import Any

from django.db import Error
from django.db.backends.mysql.base import CursorWrapper
from django.db.backends.utils import debug_transaction
from MySQLdb import OperationalError
from MySQLdb.connections import Connection
from MySQLdb.cursors import Cursor

from foundation.db.mysql import base
from foundation.values import GivenValues

BEGIN = b"BEGIN"
# Past it what waits is sent by itself: a server takes packets of a few megabytes at least.
MOST_AHEAD_BYTES = 1 << 20
NOTHING = "DO 0"


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

    def close(self) -> None:
        """Close it; an error of the connection, lost among results, would hide that of the statement."""
        with suppress(OperationalError):
            super().close()

    def executemany(self, query: Any, args: Any) -> Any:
        if self.ahead:
            self.execute(NOTHING)
        return super().executemany(query, args)


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deferred: list[bytes] = []

    def get_new_connection(self, conn_params: GivenValues) -> Connection:
        self._deferred.clear()
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: str | None = None) -> CursorWrapper:
        cursor = self.connection.cursor(_Cursor)
        cursor.ahead = self._deferred
        return CursorWrapper(cursor)

    def execute_deferred(self, statement: str, parameters: Any = None) -> None:
        """Send this by the trip of the transaction's next statement, which tells what is wrong with it."""
        self.validate_no_broken_transaction()
        if self.execute_wrappers or self.queries_logged or not self.in_atomic_block:
            with self.cursor() as cursor:
                cursor.execute(statement, parameters)
            return
        if parameters is None:
            # Without a cursor, which takes as long as to write the statement.
            self._deferred.append(statement.encode())
        else:
            with self.cursor() as cursor:
                self._deferred.append(cursor.mogrify(statement, parameters).encode())
        if sum(map(len, self._deferred)) > MOST_AHEAD_BYTES:
            with self.cursor() as cursor:
                cursor.execute(NOTHING)

    def _start_transaction_under_autocommit(self) -> None:
        """Begin by a statement: turning autocommit off, and on again after it, takes two trips."""
        self._deferred.append(BEGIN)

    def _commit(self) -> None:
        if self._deferred == [BEGIN]:
            self._deferred.clear()
        else:
            super()._commit()

    def _send_commit(self) -> None:
        if self._deferred:
            # By the connection that began: `cursor()` might open another, which has nothing to commit.
            debug = debug_transaction(self, "COMMIT")
            with debug, self.wrap_database_errors, closing(self.create_cursor()) as cursor:
                cursor.execute("COMMIT")
        else:
            super()._send_commit()

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
