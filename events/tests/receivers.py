"""Receivers of webhooks, for tests: real HTTP servers that record what they get, and answer as tests say."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """A request: its headers by their names in small letters, and its body."""

    headers: dict[str, str]
    body: bytes
    path: str

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


@dataclass
class Receiver:
    """A running receiver. `answer` gets each request, and returns the status; 0 closes without an answer."""

    url: str
    port: int
    answer: Callable[[Received], int] = lambda request: 204
    requests: list[Received] = field(default_factory=list)
    text: bytes = b""
    delay_seconds: float = 0.0
    location: str = ""
    keeps_connections: bool = True
    connections: int = 0

    def names(self) -> list[str]:
        return [request.event["data"].get("name", "") for request in self.requests]


@contextmanager
def receiving(host: str = "127.0.0.1", port: int = 0) -> Iterator[Receiver]:
    """A receiver on loopback, on a free port unless one is named."""
    mutex = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with mutex:
                receiver.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got = Received({name.lower(): value for name, value in self.headers.items()}, body, self.path)
            with mutex:
                receiver.requests.append(got)
            if receiver.delay_seconds:
                time.sleep(receiver.delay_seconds)
            status = receiver.answer(got)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            text = receiver.text
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            if not receiver.keeps_connections:
                # Not said before, by `Connection: close`.
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """A client that has left is no error here."""

    server = Server((host, port), Handler)
    port = server.server_address[1]
    literal = f"[{host}]" if ":" in host else host
    receiver = Receiver(f"http://{literal}:{port}/hooks", port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
