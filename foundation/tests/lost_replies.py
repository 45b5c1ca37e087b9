"""A database whose reply to a COMMIT is lost: the transaction has committed, and the client doesn't know."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection

from foundation.tests.outages import connecting_to


@dataclass
class _Relay:
    """Forwards all data, except the reply to the first COMMIT."""

    server: str
    # Called after the client is disconnected and before the COMMIT is forwarded.
    before_commit: Callable[[], None] | None
    # What the client receives instead of the reply; if empty, its connection breaks.
    instead: bytes
    # Whether all connections are refused once the reply is lost.
    is_the_end: bool
    is_lost: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if self.is_the_end and self.is_lost.is_set():
                    client.close()
                    continue
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(self.server)
                commits = threading.Event()
                for way in (self._to_server, self._to_client):
                    threading.Thread(target=way, args=(client, upstream, commits), daemon=True).start()

    def _to_server(self, client, upstream, commits):
        with contextlib.suppress(OSError), _shut_down_after(upstream):
            while data := client.recv(65536):
                if data.endswith(b"COMMIT"):
                    commits.set()
                    if self.before_commit and not self.is_lost.is_set():
                        self.is_lost.set()
                        client.shutdown(socket.SHUT_RDWR)
                        self.before_commit()
                upstream.sendall(data)

    def _to_client(self, client, upstream, commits):
        with contextlib.suppress(OSError), _shut_down_after(client):
            while data := upstream.recv(65536):
                if not commits.is_set() or self.is_lost.is_set():
                    client.sendall(data)
                    continue
                self.is_lost.set()
                if not self.instead:
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(self.instead)


@contextlib.contextmanager
def _shut_down_after(peer):
    """Disconnect the peer after the block.

    Closing alone keeps the connection while the other thread receives from it, and the server would keep the
    locks of a transaction whose COMMIT never arrives.
    """
    try:
        yield
    finally:
        with contextlib.suppress(OSError), peer:
            peer.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def losing_reply_to_commit(
    folder: Path, *, before_commit: Callable[[], None] | None = None, instead=b"", is_the_end=False
) -> Iterator[threading.Event]:
    """New connections of this process go through a relay that disconnects after the first COMMIT.

    The event is set once that has happened; from then on the relay forwards everything, or with `is_the_end`
    nothing. With `before_commit` the connection breaks first, and the COMMIT is forwarded after that function
    returns. With `instead` the connection stays open, and this is the reply.
    """
    server = connection.settings_dict["OPTIONS"]["unix_socket"]
    relay, address = _Relay(server, before_commit, instead, is_the_end), folder / "relay.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        threading.Thread(target=relay.serve, args=(listener,), daemon=True).start()
        with connecting_to(options={"unix_socket": str(address)}):
            yield relay.is_lost


def error_packet(number: int) -> bytes:
    """A server's reply that a statement failed with this error."""
    body = b"\xff" + number.to_bytes(2, "little") + b"#HY000" + b"made up"
    return len(body).to_bytes(3, "little") + b"\x01" + body
