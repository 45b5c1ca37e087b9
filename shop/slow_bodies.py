"""Bodies that don't arrive: how long each has been waited for, and the end of those that take too long.

granian reads bodies in the thread that will answer, and only the end of the connection stops it. It doesn't
say by which connection a request came. So this module looks at the process's connections, as Linux counts
what they send and receive: one that has received something and sent nothing since, for longer than a body may
take, from an address whose bodies are late, is one that is waited for. Its reading side is shut, the thread
goes on with what there is, and the client gets an answer.

A request that is still being worked on looks the same from outside. While one from the same address has been
worked on for as long, nothing is shut: the bound on threads that read holds meanwhile. So does one that waits
for a free thread: nothing is shut while all are busy, and the time that counts begins anew then.

How a connection looks is up to clients, which may take earlier answers a little at a time. So once a thread
has read for twice as long as a body may take, all connections from its caller's address end, whatever they
look like; but not behind proxies, whose address is everybody's. On other systems than Linux the bound is all
there is.
"""

import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from prometheus_client import Counter
from structlog import get_logger

from shop import threads

log = get_logger(__name__)
BODY_SECONDS = 10.0
"""For a whole body."""
CROWDED_SECONDS = 2.5
"""The same, while no more threads may read."""
MOST = threads.OURS.reading
"""Threads that may read bodies at once; the rest serve requests without bodies."""
SUSPICIOUS_SECONDS = 1.0
"""From then on connections are looked at; until then a body costs nothing but its entry in a table."""
LOOK_SECONDS = 0.25
DESCRIPTORS = Path("/proc/self/fd")
TCP_INFO_BYTES = 136
TIMES, ACKNOWLEDGED = struct.Struct("=I4xI"), struct.Struct("=Q")
TIMES_AT, ACKNOWLEDGED_AT = 44, 120
"""In Linux's `struct tcp_info`: since data was sent and received last, and bytes acknowledged."""

Caller = tuple[str, str]
"""A peer's address and the port of ours that it called."""

ended = Counter("firstcome_slow_bodies", "Connections ended because a request's body took too long.")


Since = dict[tuple[int, int, bool], float]
"""When connections were first seen as they are: by their inode and state."""

reading: dict[int, tuple[Caller, float]] = {}
"""The threads that wait for a body: for which caller, and since when."""
handling: dict[int, tuple[Caller, float]] = {}
"""The threads that work on a request."""


def watch() -> None:
    """End late bodies of this process from now on, where the system can tell which they are."""
    if DESCRIPTORS.is_dir():
        threading.Thread(target=_watch, name="slow-bodies", daemon=True).start()


def _watch() -> None:
    unanswered: Since = {}
    while True:
        time.sleep(LOOK_SECONDS)
        suspicious = _callers(reading, SUSPICIOUS_SECONDS)
        unanswered = _look(unanswered, suspicious) if suspicious else {}


def _look(known: Since, suspicious: set[Caller]) -> Since:
    """Since when each connection of these callers is unanswered; those that are so for too long are ended."""
    if len(reading) + len(handling) >= settings.WEB_THREADS:
        return {}  # requests that wait for a thread are in no table
    overdue = set() if settings.TRUSTED_PROXIES else _callers(reading, 2 * BODY_SECONDS)
    seconds = CROWDED_SECONDS if len(reading) >= MOST else BODY_SECONDS
    late = _callers(reading, seconds) - _callers(handling, seconds - SUSPICIOUS_SECONDS)
    now, unanswered = time.monotonic(), {}
    for inode, caller, connection in _connections(suspicious):
        with connection:
            if caller in overdue:
                _end(connection, caller)
                continue
            state = _state(connection)
            if state is None:
                continue
            name = inode, *state
            unanswered[name] = known.get(name, now)
            if caller in late and now - unanswered[name] >= seconds - SUSPICIOUS_SECONDS - LOOK_SECONDS:
                _end(connection, caller)
    return unanswered


def _end(connection: socket.socket, caller: Caller) -> None:
    """Shut the reading side: the thread that waits gets what there is, and may still answer."""
    try:
        connection.shutdown(socket.SHUT_RD)
    except OSError:  # gone meanwhile
        return
    ended.inc()
    log.warning("a body took too long", address=caller[0])


def _callers(table: dict[int, tuple[Caller, float]], seconds: float) -> set[Caller]:
    """Those that have been in the table for so long."""
    before = time.monotonic() - seconds
    return {caller for caller, began_at in list(table.values()) if began_at <= before}


def _connections(callers: set[Caller]) -> Iterator[tuple[int, Caller, socket.socket]]:
    """The connections from these callers, each as a descriptor of its own to be closed."""
    for path in DESCRIPTORS.iterdir():
        try:
            status = os.fstat(int(path.name))
            if not stat.S_ISSOCK(status.st_mode):
                continue
            connection = socket.socket(fileno=os.dup(int(path.name)))
        except OSError:  # closed meanwhile
            continue
        caller = _caller(connection)
        if caller in callers:
            yield status.st_ino, caller, connection
        else:
            connection.close()


def _caller(connection: socket.socket) -> Caller:
    """The other side's address and our port; nothing where it is no connection by TCP."""
    try:
        peer, own = connection.getpeername(), connection.getsockname()
    except OSError:
        return "", ""
    return (str(peer[0]), str(own[1])) if isinstance(peer, tuple) else ("", "")


def _state(connection: socket.socket) -> tuple[int, bool] | None:
    """What stays the same while a connection is unanswered, or idle; None for one that is neither.

    One whose next request came before the last answer went looks idle, so idle ones count too: closing one
    of these does what a keep-alive's time limit does.
    """
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    except OSError:
        return None
    if len(info) < TCP_INFO_BYTES:
        return None
    sent_ago, received_ago = TIMES.unpack_from(info, TIMES_AT)
    [acknowledged] = ACKNOWLEDGED.unpack_from(info, ACKNOWLEDGED_AT)
    is_unanswered = received_ago <= sent_ago
    is_idle = min(sent_ago, received_ago) >= SUSPICIOUS_SECONDS * 1_000
    return (acknowledged, is_unanswered) if is_unanswered or is_idle else None
