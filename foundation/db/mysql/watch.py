"""Detects within seconds a server that hangs: one that leaves two pings in a row unanswered.

Then the sockets of this process's connections are shut down, so that threads that read from one fail at once,
and new connections are refused here until the server answers again. A connection in COMMIT may finish: it is
shut down only when the server stays silent for as long as requests wait.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary, finalize

import MySQLdb
from MySQLdb.connections import Connection
from structlog import get_logger

from foundation.repeated_work import RepeatedWork
from foundation.values import GivenValues

log = get_logger(__name__)
PERIOD_SECONDS = 1.0
# A ping that fails after most of these was not answered; one that fails sooner means that the server is down,
# which every connection notices by itself.
PING_TIMEOUT_SECONDS = 2
# One ping may get lost: the next one follows at once, by a new connection.
CONFIRMING_PING_TIMEOUT_SECONDS = 1
UNANSWERED_FRACTION = 0.75
UNANSWERED_PINGS = 2
# After its connection is shut down, the outcome of a COMMIT is unknown. Requests wait no longer than this.
COMMIT_WAIT_SECONDS = 10.0
CONNECTION_LOST = 2013

_mutex = threading.Lock()
_watches: "dict[tuple[Any, ...], Watch]" = {}


def get_watch(parameters: GivenValues) -> "Watch":
    """This process's watch of the server to which these connection parameters lead."""
    address = tuple(parameters.get(name) for name in ("host", "port", "unix_socket"))
    with _mutex:
        return _watches.setdefault(address, Watch(parameters))


class Watch:
    """Pings one server every second, in a thread of its own, while this process has connections to it."""

    def __init__(self, parameters: GivenValues) -> None:
        ours = {name: value for name, value in parameters.items() if name not in ("database", "init_command")}
        self._parameters = ours
        self._mutex = threading.Lock()
        self._descriptors: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        self._committing: set[Connection] = set()
        self._own: Connection | None = None
        self._work = RepeatedWork(self._look, name="database watch", pause=self._pause)
        self._unanswered = 0
        self._silent_since = 0.0

    @property
    def _is_hung(self) -> bool:
        return self._unanswered >= UNANSWERED_PINGS

    def refuse_while_hung(self) -> None:
        """Raise a lost connection's error at once, instead of after the connect timeout."""
        if self._is_hung:
            # A forked process has no thread yet.
            self._work.start()
            raise MySQLdb.OperationalError(
                CONNECTION_LOST, "The server hangs; not connecting until it answers."
            )

    def add(self, connection: Connection) -> None:
        # A duplicate: the connection may be closed, and its descriptor reused for another file, at any time.
        descriptor = os.dup(connection.fileno())
        finalize(connection, os.close, descriptor)
        with self._mutex:
            self._descriptors[connection] = descriptor
        self._work.start()

    @contextmanager
    def committing(self, connection: Connection) -> Iterator[None]:
        """Let the COMMIT that the block sends by this connection finish, unless the server stays silent."""
        with self._mutex:
            self._committing.add(connection)
        try:
            yield
        finally:
            self._committing.discard(connection)

    def _look(self) -> None:
        if self._is_hung or self._descriptors:
            self._own = self._ping(self._own)
        elif self._own:
            self._own.close()
            self._own = None

    def _pause(self) -> float:
        return PERIOD_SECONDS if self._is_hung or not self._unanswered else 0.0

    def _ping(self, own: Connection | None) -> Connection | None:
        """Ping over the watch's own connection, and return it if the server answered."""
        timeout = CONFIRMING_PING_TIMEOUT_SECONDS if self._unanswered else PING_TIMEOUT_SECONDS
        began_at = time.monotonic()
        try:
            if own is None:
                timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), timeout)
                own = MySQLdb.connect(**self._parameters | timeouts)
            own.ping()
        except MySQLdb.Error as error:
            self._record_failed_ping(error, began_at=began_at, timeout=timeout)
            return None
        if self._is_hung:
            log.warning("the database answers again")
        self._unanswered = 0
        if timeout == PING_TIMEOUT_SECONDS:
            return own
        own.close()
        return None

    def _record_failed_ping(self, error: MySQLdb.Error, *, began_at: float, timeout: int) -> None:
        if time.monotonic() - began_at < UNANSWERED_FRACTION * timeout:
            self._unanswered = 0
            return
        if not self._unanswered:
            self._silent_since = began_at
        self._unanswered += 1
        if self._unanswered == UNANSWERED_PINGS:
            log.error("the database hangs; shutting down its connections", error=error)
        if self._is_hung:
            # Those that are shut down already stay so.
            is_wait_over = time.monotonic() - self._silent_since > COMMIT_WAIT_SECONDS
            self._shut_down_connections(in_commit=is_wait_over)

    def _shut_down_connections(self, *, in_commit: bool) -> None:
        with self._mutex:
            # The list keeps the connections from being collected, so their descriptors stay open meanwhile.
            for connection, descriptor in list(self._descriptors.items()):
                if in_commit or connection not in self._committing:
                    # An error: the connection was already closed.
                    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection_socket:
                        connection_socket.shutdown(socket.SHUT_RDWR)
