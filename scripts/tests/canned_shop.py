"""An HTTP server in a thread that answers as a test says, and records what it is sent."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOST = None
"""An answer that never comes: the connection is closed."""


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self):
        return json.loads(self.raw) if self.raw else None


@dataclass(frozen=True)
class Answer:
    """What the server sends: a problem when the status is an error."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    type: str = ""


def problem(status: int, code: str, **headers: str) -> Answer:
    """A refusal; `Retry_After="1"` is a header."""
    body = {"type": "about:blank", "title": code, "status": status, "detail": f"it is {code}", "code": code}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class CannedShop:
    """`answer` decides what each request gets; `sent` has them all, in the order of their arrival.

    One that does not keep its connections closes them after an answer, and does not say so before.
    """

    def __init__(self, address):
        self.address = address
        self.port = int(address.rpartition(":")[2])
        self.sent: list[Sent] = []
        self.connections: list[Any] = []
        self.keeps_connections = True
        self.answer: Callable[[Sent], Answer | None] = lambda sent: problem(404, "not_found")

    def queue(self, *answers: Answer | None):
        """Answer one after the other, the last one for ever."""
        left = list(answers)
        self.answer = lambda sent: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def running(port=0, host="127.0.0.1") -> Iterator[CannedShop]:
    """The server, until the block ends, on a port of its own unless one is given.

    Its connections end with it: a client may keep one, and a later server may be given the same port.
    """
    sockets = list[socket.socket]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            shop.connections.append(self.client_address)
            sockets.append(self.connection)

        def handle_one(self):
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = Sent(self.command, self.path, self.headers, raw)
            shop.sent.append(sent)
            answer = shop.answer(sent)
            if answer is LOST:
                self.close_connection = True
                return
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            kind = "application/problem+json" if answer.status >= 400 else "application/json"
            self.send_response(answer.status)
            if answer.status == HTTPStatus.NO_CONTENT:
                # Its body would be read as the beginning of the connection's next response.
                body = b""
            else:
                self.send_header("Content-Type", answer.type or kind)
                self.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if not shop.keeps_connections:
                self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815 - names of the base class

        def log_message(self, *_):
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        request_queue_size = 128

        def handle_error(self, *_):
            """Say nothing of a connection that ended."""

    server = Server((host, port), Handler)
    literal = f"[{host}]" if ":" in host else host
    shop = CannedShop(f"http://{literal}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        for connection in sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
