"""A server that hangs, noticed within seconds: so that nobody waits for an answer that won't come.

A slow statement is let be: it may wait for a lock or for the disk, and its connection has a read timeout of
its own. But a server that doesn't even answer a ping answers nobody: a frozen machine, a network that
swallows what it is given. Then the sockets of this process's connections are shut down, so that whoever
reads from one is told at once that it is lost, and new connections are refused here until it answers again.
"""

import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, finalize

import MySQLdb
from MySQLdb.connections import Connection
from structlog import get_logger

log = get_logger(__name__)
PERIOD_SECONDS = 1.0
# The client library counts whole seconds. Whoever takes most of them without an answer hangs; whoever
# refuses sooner is down, and every connection finds that out by itself.
PATIENCE_SECONDS = 2
HUNG_SECONDS = 1.5
LOST = 2013

_mutex = threading.Lock()
_watches: "dict[tuple[Any, ...], Watch]" = {}


def of(parameters: Mapping[str, Any]) -> "Watch":
    """This process's watch of the server that a connection with these parameters goes to."""
    address = tuple(parameters.get(name) for name in ("host", "port", "unix_socket"))
    with _mutex:
        return _watches.setdefault(address, Watch(parameters))


class Watch:
    """One server, asked every second by a thread of its own while this process has connections to it."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), PATIENCE_SECONDS)
        ours = {name: value for name, value in parameters.items() if name not in ("database", "init_command")}
        self._parameters = ours | timeouts
        self._mutex = threading.Lock()
        self._descriptors: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        self._thread: threading.Thread | None = None
        self._is_hung = False

    def refuse_while_hung(self) -> None:
        """Raise what a connection that broke raises, rather than let the caller find out in seconds."""
        if self._is_hung and self._is_kept():
            raise MySQLdb.OperationalError(LOST, "The server hangs; not connecting until it answers.")

    def add(self, connection: Connection) -> None:
        """Watch the server on behalf of this connection, for as long as there is one."""
        # A copy of our own: the connection may be closed, and its number taken by another file, at any time.
        descriptor = os.dup(connection.fileno())
        finalize(connection, os.close, descriptor)
        with self._mutex:
            self._descriptors[connection] = descriptor
            if not self._is_kept():
                self._thread = threading.Thread(target=self._keep, name="database watch", daemon=True)
                self._thread.start()

    def _is_kept(self) -> bool:
        """Whether the thread is there; a fork takes none along."""
        return self._thread is not None and self._thread.is_alive()

    def _keep(self) -> None:
        own: Connection | None = None
        while self._is_needed():
            own = self._ask(own)
            time.sleep(PERIOD_SECONDS)
        if own:
            own.close()

    def _is_needed(self) -> bool:
        with self._mutex:
            if self._is_hung or self._descriptors:
                return True
            self._thread = None  # with the mutex held: who adds a connection now starts another
            return False

    def _ask(self, own: Connection | None) -> Connection | None:
        """Ping over the watch's own connection, and return it if the server answered."""
        started_at = time.monotonic()
        try:
            own = own or MySQLdb.connect(**self._parameters)
            own.ping()
        except MySQLdb.Error as error:
            self._judge(time.monotonic() - started_at, error)
            return None
        if self._is_hung:
            log.warning("the database answers again")
        self._is_hung = False
        return own

    def _judge(self, seconds: float, error: MySQLdb.Error) -> None:
        is_hung, self._is_hung = self._is_hung, seconds >= HUNG_SECONDS
        if self._is_hung and not is_hung:
            log.error("the database hangs; letting go of its connections", error=str(error))
            self._shut_down_connections()

    def _shut_down_connections(self) -> None:
        with self._mutex:
            # While the list holds the connections none is collected, and no descriptor of theirs closed.
            for _, descriptor in list(self._descriptors.items()):
                with socket.socket(fileno=os.dup(descriptor)) as line:
                    _shut_down(line)


def _shut_down(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        log.info("a connection was gone already", error=str(error))
