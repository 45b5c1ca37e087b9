"""A real server that answers whatever a test wants, in the place of a gateway."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import orjson
from django.conf import LazySettings

from scripts.stack import ports

Write = Callable[[bytes], Any]


class Talker(socketserver.ThreadingTCPServer):
    """A real server on a free port that answers every request by the same `talk`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, talk):
        super().__init__((ports.HOST, 0), TalkerHandler)
        self.talk = talk
        self.connections = 0


class TalkerHandler(socketserver.StreamRequestHandler):
    server: Talker

    def handle(self):
        self.server.connections += 1
        while self._read_request():
            try:
                self.server.talk(self.wfile.write)
            except OSError:
                return  # The client left.

    def _read_request(self):
        length = 0
        if not self.rfile.readline():
            return False
        while (line := self.rfile.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.rfile.read(length)
        return True


@contextmanager
def talking(talk: Callable[[Write], Any], settings: LazySettings) -> Iterator[Talker]:
    with Talker(talk) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        url = f"http://{ports.HOST}:{server.server_address[1]}"
        settings.GATEWAY_URL = settings.STRIPE_API_BASE = url
        yield server
        server.shutdown()


def answering(settings: LazySettings, *answers: bytes) -> AbstractContextManager[Talker]:
    """A gateway that gives these answers in turn, and the last one again and again."""
    left = [*answers]
    return talking(lambda write: write(left.pop(0) if len(left) > 1 else left[0]), settings)


def http(status: int, content, *headers: bytes) -> bytes:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    head = [b"HTTP/1.1 %d Whatever" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*head, b"", body])
