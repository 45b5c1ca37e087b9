"""A server that hangs or is slow: a relay in front of the real one, like a machine that is frozen or far."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from django.db import connection

from foundation.tests.outages import connecting_to


class Relay:
    """Forwards all data until it is frozen, replies after `delay_seconds`; after `thaw` it continues."""

    def __init__(self, address, server, *, delay_seconds=0.0):
        """`address` is its socket's; `server` is a family of addresses with one of it."""
        self._server, self._delay_seconds = server, delay_seconds
        self._flows = threading.Event()
        self._flows.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen(128)
        threading.Thread(target=self._serve, daemon=True).start()

    def freeze(self):
        self._flows.clear()

    def thaw(self):
        self._flows.set()

    def close(self):
        """Refuse new connections and break the open ones, like a server that was killed."""
        self.thaw()
        for end in [self._listener, *self._ends]:
            _shut_down(end)
            end.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                family, server = self._server
                upstream = socket.socket(family)
                self._ends += [client, upstream]
                upstream.connect(server)
                for way in ((client, upstream, 0.0), (upstream, client, self._delay_seconds)):
                    threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(self, source, target, delay_seconds):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay_seconds)
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            _shut_down(end)


def _shut_down(end):
    with contextlib.suppress(OSError):  # the other side may have closed it already
        end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relayed(folder: Path) -> Iterator[Relay]:
    """New connections of this process to the database go through the relay."""
    server, address = connection.settings_dict["OPTIONS"]["unix_socket"], folder / "relay.sock"
    relay = Relay(address, (socket.AF_UNIX, server))
    with contextlib.closing(relay), connecting_to(options={"unix_socket": str(address)}):
        yield relay
