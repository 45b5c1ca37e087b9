"""A database whose reply to a COMMIT is lost on the way: what it did is done, and nobody is told."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from django.db import connection, connections


@contextlib.contextmanager
def losing_reply_to_commit(folder: Path) -> Iterator[threading.Event]:
    """New connections of this process pass a relay that breaks off after the first COMMIT.

    The event is set once that has happened; from then on the relay loses nothing.
    """
    options = connection.settings_dict["OPTIONS"]
    server = options["unix_socket"]
    address = str(folder / "relay.sock")
    is_lost = threading.Event()
    connections.close_all()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        threading.Thread(target=_serve, args=(listener, server, is_lost), daemon=True).start()
        options["unix_socket"] = address
        try:
            yield is_lost
        finally:
            connections.close_all()
            options["unix_socket"] = server


def _serve(listener: socket.socket, server: str, is_lost: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(server)
            commits = threading.Event()
            threading.Thread(target=_to_server, args=(client, upstream, commits), daemon=True).start()
            threading.Thread(
                target=_to_client, args=(client, upstream, commits, is_lost), daemon=True
            ).start()


def _to_server(client: socket.socket, upstream: socket.socket, commits: threading.Event) -> None:
    with contextlib.suppress(OSError), upstream:
        while data := client.recv(65536):
            if data.endswith(b"COMMIT"):
                commits.set()
            upstream.sendall(data)


def _to_client(
    client: socket.socket, upstream: socket.socket, commits: threading.Event, is_lost: threading.Event
) -> None:
    with contextlib.suppress(OSError), client:
        while data := upstream.recv(65536):
            if commits.is_set() and not is_lost.is_set():
                is_lost.set()
                client.shutdown(socket.SHUT_RDWR)
                return
            client.sendall(data)
