"""The open connections of a process, in tables by what they wait for, and how many each address has.

Each table is ordered by time: one sweep per second reads only overdue entries, and no request sets a timer.
"""

from itertools import takewhile
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge
from uvicorn.server import ServerState

from shop.rates import throttling

if TYPE_CHECKING:
    from shop.server.protocol import Protocol as Connection

HEAD_SECONDS = 10.0
"""For a request's head, from its first byte; for a connection's first request, from its opening."""
BODY_SECONDS = 10.0
"""For the rest of a request's body, from the first chunk of data that does not contain all of it."""
IDLE_SECONDS = 75.0
"""Between two requests. Longer than proxies keep their connections (nginx and AWS 60 s), so that the proxy
closes first: a request that arrives while the server closes gets no response."""
STOPPING_IDLE_SECONDS = 0.5
"""The same while the server stops: requests that are already on their way still arrive."""
LINGER_SECONDS = 5.0
"""For a client to read a response that was sent before its request was complete."""
UNSENT_SECONDS = 30.0
"""For a client to read some of what is sent to it."""

closed_connections = Counter(
    "firstcome_connections_closed", "Connections that the server closed early.", ["reason"]
)

open_connections = Gauge(
    "firstcome_connections_open", "Connections of clients that are open.", multiprocess_mode="livesum"
)
late_bodies = Counter("firstcome_slow_bodies", "Requests refused because their body took too long.")


class Connections(ServerState):
    """The connections of this process, and the tables that the sweep checks."""

    def __init__(self, *, most: int, most_per_address: int | None) -> None:
        """`most` limits all connections; `most_per_address` those of a network, None behind a proxy."""
        super().__init__()
        self.is_stopping = False
        self.heads: dict[Connection, float] = {}
        """Waiting for the rest of a request's head."""
        self.bodies: dict[Connection, float] = {}
        """Waiting for the rest of a request's body."""
        self.idle: dict[Connection, float] = {}
        """Between two requests."""
        self.lingering: dict[Connection, float] = {}
        """Answered and closing: what the client still sends is read and dropped."""
        self.unsent: dict[Connection, tuple[float, int]] = {}
        """The client does not read what is sent: since when, and how many bytes are left."""
        self._most, self._most_per_address = most, most_per_address
        self._by_network: dict[str, int] = {}

    def admit(self, address: str) -> str | None:
        """Count a new connection; return its network, "" if it is exempt, None if there are too many.

        At the limit of all connections the connection that has been idle longest is closed.
        """
        if len(self.connections) >= self._most and not self._close_longest_idle():
            return None
        address = address.removeprefix("::ffff:")
        if self._most_per_address is None or address in ("", "::1") or address.startswith("127."):
            return ""
        network = throttling.network_of_address(address)
        count = self._by_network.get(network, 0)
        if count >= self._most_per_address:
            return None
        self._by_network[network] = count + 1
        return network

    def forget(self, connection: "Connection", network: str) -> None:
        """Remove a closed connection, which counted for the network."""
        for table in (self.heads, self.bodies, self.idle, self.lingering, self.unsent):
            table.pop(connection, None)
        if network:
            count = self._by_network.pop(network) - 1
            if count:
                self._by_network[network] = count

    def sweep(self, now: float) -> None:
        """Close what is overdue at `now`, in the event loop's time."""
        for connection in _overdue(self.heads, now - HEAD_SECONDS):
            connection.refuse_late_head()
        for connection in _overdue(self.bodies, now - BODY_SECONDS):
            connection.cut_late_body()
        idle_since = now - (STOPPING_IDLE_SECONDS if self.is_stopping else IDLE_SECONDS)
        for connection in _overdue(self.idle, idle_since) + _overdue(self.lingering, now - LINGER_SECONDS):
            connection.close()
        for connection, (since, bytes_before) in list(self.unsent.items()):
            bytes_now = connection.transport.get_write_buffer_size()
            if not bytes_now:
                del self.unsent[connection]
            elif bytes_now < bytes_before and not connection.transport.is_closing():
                self.unsent[connection] = now, bytes_now
            elif now - since > UNSENT_SECONDS:
                closed_connections.labels("slow_reader").inc()
                connection.cut_off()

    def _close_longest_idle(self) -> bool:
        for connection in self.idle:
            del self.idle[connection]
            closed_connections.labels("open_files").inc()
            connection.close()
            return True
        return False


def _overdue(table: dict["Connection", float], before: float) -> list["Connection"]:
    """Remove the connections that have been in the table since `before` or longer; returns them."""
    overdue = list(takewhile(lambda connection: table[connection] <= before, table))
    for connection in overdue:
        del table[connection]
    return overdue
