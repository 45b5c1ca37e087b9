"""A database that hangs: a relay in front of the real one that can stop forwarding, like a frozen machine."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from django.db import connection, connections

from shop.tests import process_state


class Relay:
    """Forwards all data until it is frozen; after `thaw` it continues."""

    def __init__(self, address: Path, server: str) -> None:
        self._server = server
        self._flows = threading.Event()
        self._flows.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen(128)
        threading.Thread(target=self._serve, daemon=True).start()

    def freeze(self) -> None:
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def close(self) -> None:
        """Refuse new connections and break the open ones, like a server that was killed."""
        self.thaw()
        for end in [self._listener, *self._ends]:
            _shut_down(end)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(self._server)
                self._ends += [client, upstream]
                for source, target in ((client, upstream), (upstream, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            _shut_down(end)


def _shut_down(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side may have closed it already
        end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relayed(folder: Path) -> Iterator[Relay]:
    """New connections of this process go through the relay."""
    options = connection.settings_dict["OPTIONS"]
    server, address = options["unix_socket"], folder / "relay.sock"
    connections.close_all()
    relay = Relay(address, server)
    options["unix_socket"] = str(address)
    process_state.renew_threads()
    try:
        yield relay
    finally:
        relay.close()
        connections.close_all()
        options["unix_socket"] = server
        process_state.renew_threads()
