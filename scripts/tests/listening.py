"""Servers of a test's own, for what connects to them: each connection is answered in a thread."""

import socket
import threading
from collections.abc import Callable

from scripts.stack import ports


def serve(port: int, answer: Callable[[socket.socket], None]) -> socket.socket:
    """Listen on the port, and call `answer` with each connection, until the socket returned is closed."""
    listening = socket.create_server((ports.HOST, port))
    threading.Thread(target=_accept, args=(listening, answer), daemon=True).start()
    return listening


def _accept(listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()
