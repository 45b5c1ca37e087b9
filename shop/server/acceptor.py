"""Accepts new connections from the socket that all workers share, and distributes them evenly.

The worker that wakes first would accept every connection of a burst. So each worker publishes its number of
connections, and one that has more than the others leaves a new connection to them for some milliseconds.
"""

import asyncio
import mmap
import os
import socket
from array import array
from collections.abc import Callable

BACKLOG = 10_240
MAX_LEAD = 2
"""How many connections a worker may have more than another, plus one for every fifty."""
PAUSE_SECONDS = 0.005
OUT_OF_FILES_PAUSE_SECONDS = 0.1
MAX_ACCEPTED_AT_STOP = 1024
ABSENT = -1
"""In the place of the number of a worker that accepts no connections."""


class ConnectionCounts:
    """The number of connections of each worker, in shared memory with one slot for each worker."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is of a file in memory, created by `create`."""
        self.slots = memoryview(mmap.mmap(descriptor, 0)).cast("q")

    @staticmethod
    def create(slots: int) -> int:
        """Return the descriptor of a new file in memory in which no worker is present."""
        descriptor = os.memfd_create("connections")
        os.write(descriptor, array("q", [ABSENT] * slots).tobytes())
        return descriptor

    def lowest(self) -> int:
        """The smallest count among workers that accept connections. Raises `ValueError` if there are none."""
        return min(count for count in self.slots if count != ABSENT)


class Acceptor:
    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        counts: ConnectionCounts,
        slot: int,
        open_connections: Callable[[], int],
    ) -> None:
        self._listener, self._protocol = listener, protocol
        self._counts, self._slot, self._open_connections = counts, slot, open_connections
        self._loop = asyncio.get_running_loop()
        self._accepted: set[asyncio.Task[object]] = set()
        self._is_closed = False

    def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._publish()
        self._loop.add_reader(self._listener, self._accept_in_turn)

    def close(self) -> None:
        self._is_closed = True
        self._loop.remove_reader(self._listener)
        self._counts.slots[self._slot] = ABSENT
        for _ in range(MAX_ACCEPTED_AT_STOP):
            if not self._accept_one():
                break

    def _accept_in_turn(self) -> None:
        count, lowest = self._publish(), self._counts.lowest()
        if count > lowest + MAX_LEAD + lowest // 50:
            self._pause(PAUSE_SECONDS)
        else:
            self._accept_one()

    def _resume_accepting(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener, self._accept_in_turn)
            self._accept_one()

    def _accept_one(self) -> bool:
        """Accept a connection. Returns whether one was waiting."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError:
            self._pause(OUT_OF_FILES_PAUSE_SECONDS)
            return False
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        self._accepted.add(task)
        task.add_done_callback(self._accepted.discard)
        return True

    def _pause(self, seconds: float) -> None:
        if not self._is_closed:
            self._loop.remove_reader(self._listener)
            self._loop.call_later(seconds, self._resume_accepting)

    def _publish(self) -> int:
        count = self._open_connections() + len(self._accepted)
        self._counts.slots[self._slot] = count
        return count
