"""A Redis that answers late: a relay in front of a real one that delays its replies."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from scripts.stack import ports
from shop.tests.outages import OwnRedis


@contextlib.contextmanager
def answering_late(server: OwnRedis, *, seconds: float) -> Iterator[str]:
    """The address of a relay that delays every reply by `seconds`."""
    with socket.create_server((ports.HOST, 0)) as listener:
        threading.Thread(target=_serve, args=(listener, server.port, seconds), daemon=True).start()
        yield f"redis://{ports.HOST}:{listener.getsockname()[1]}/0"


def _serve(listener: socket.socket, port: int, seconds: float) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            upstream = socket.create_connection((ports.HOST, port))
            for source, target, pause in ((client, upstream, 0.0), (upstream, client, seconds)):
                threading.Thread(target=_pass_on, args=(source, target, pause), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, pause: float) -> None:
    with contextlib.suppress(OSError), target:
        while data := source.recv(65536):
            threading.Event().wait(pause)
            target.sendall(data)
