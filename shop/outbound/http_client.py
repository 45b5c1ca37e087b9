"""HTTP calls to others, whose every reply may be late, wrong or hostile: bounded in time and size.

By the standard library's client: a call costs half the processor time that it costs by a pool. Each thread
keeps the connections that it made.
"""

import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from http.client import HTTPS_PORT, HTTPConnection, HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from shop.db import transactions

LARGEST_RESPONSE_BYTES = 4 * 2**20
CHUNK_BYTES = 2**16


class NoResponse(Exception):
    """Nobody answered; whether anybody heard is not known. The text says what came instead."""


class NotConnected(NoResponse):
    """There was no connection: nobody heard anything."""


class ResponseTooLarge(Exception):
    """Somebody answers, and doesn't end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, whatever it says."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _ThreadConnections(threading.local):
    """This thread's connections, by scheme and host."""

    def __init__(self) -> None:
        self.connections: dict[tuple[str, str], _Connection] = {}


_thread_connections = _ThreadConnections()


def send_request(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, seconds: float
) -> Reply:
    """One request and its whole reply, within so many seconds. Raises `NoResponse` or `ResponseTooLarge`.

    One deadline holds for all of it: connecting, TLS, sending, headers and body. Only looking the host's name
    up is left to the system's resolver.
    Tried once: whether to ask again is for the caller to decide, who knows the key and what it costs.
    """
    transactions.assert_outside()
    deadline, where = time.monotonic() + seconds, urlsplit(url)
    connection = _open_connection(where, deadline)
    is_whole = False
    try:
        connection.request(
            method, f"{where.path}?{where.query}" if where.query else where.path, body, headers
        )
        with closing(connection.getresponse()) as response:
            # A message is a mapping in all but name, whatever the case of its keys.
            headers_heard = cast(Mapping[str, str], response.headers)
            reply = Reply(response.status, headers_heard, _read_body(response))
            is_whole = not response.will_close
            return reply
    except TimeoutError as error:
        raise NoResponse("no reply in time") from error
    except (HTTPException, OSError) as error:
        raise NoResponse(f"the connection broke: {type(error).__name__}") from error
    finally:
        # What is left of a reply would be taken for the next one.
        if not is_whole:
            connection.close()


class _DeadlineSocket(socket.socket):
    """A socket whose every operation ends by one `deadline`, however many there are.

    A time-out of the standard library is for one operation: a reply that drips would never meet it.
    """

    deadline = 0.0

    def bound(self) -> None:
        """Let the next operation take what is left of the time. Raises `TimeoutError` when nothing is."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.settimeout(left)

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.bound()
        return super().recv_into(*arguments, **named)

    def send(self, *arguments: Any, **named: Any) -> int:
        self.bound()
        return super().send(*arguments, **named)

    def sendall(self, *arguments: Any, **named: Any) -> None:
        self.bound()
        super().sendall(*arguments, **named)


class _DeadlineTLSSocket(_DeadlineSocket, ssl.SSLSocket):
    """The same with TLS."""


class _Connection(HTTPConnection):
    """A connection that is made, and used, by one deadline at a time."""

    sock: _DeadlineSocket | None
    deadline = 0.0

    def connect(self) -> None:
        """Try the host's addresses one after the other, as long as there is time."""
        errors: list[OSError] = []
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        ):
            line = _DeadlineSocket(family, kind, protocol)
            line.deadline = self.deadline
            try:
                line.bound()
                line.connect(address)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sock = self.secured(line)
                return
            except OSError as error:
                line.close()
                errors.append(error)
        raise errors[-1]

    def secured(self, line: _DeadlineSocket) -> _DeadlineSocket:
        return line


class _SecureConnection(_Connection):
    """The same with TLS."""

    default_port = HTTPS_PORT

    def secured(self, line: _DeadlineSocket) -> _DeadlineSocket:
        secure = cast(
            _DeadlineTLSSocket,
            _tls_context().wrap_socket(line, server_hostname=self.host, do_handshake_on_connect=False),
        )
        secure.deadline = self.deadline
        try:
            secure.bound()
            secure.do_handshake()
        except BaseException:
            secure.close()
            raise
        return secure


CONNECTION_CLASSES = {"http": _Connection, "https": _SecureConnection}


def _open_connection(where: SplitResult, deadline: float) -> _Connection:
    """This thread's connection to there: the one it kept, unless the other side has closed it."""
    name = where.scheme, where.netloc
    connection = _thread_connections.connections.get(name)
    if connection is None:
        connection = _thread_connections.connections[name] = CONNECTION_CLASSES[where.scheme](where.netloc)
    if connection.sock is not None and _is_readable(connection.sock):
        connection.close()
    connection.deadline = deadline
    if connection.sock is not None:
        connection.sock.deadline = deadline
        return connection
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise NotConnected("no connection") from error
    return connection


@cache
def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = _DeadlineTLSSocket
    return context


def _is_readable(line: socket.socket) -> bool:
    """Whether something came that nobody asked for: the end, if it keeps to the protocol."""
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(0))


def _read_body(response: HTTPResponse) -> bytes:
    """The whole body, as it came: we ask for no compression, so what is compressed can't be read."""
    body = bytearray()
    try:
        while chunk := _next_chunk(response, len(body)):
            body += chunk
            if len(body) > LARGEST_RESPONSE_BYTES:
                raise ResponseTooLarge("an answer without end")
    except TimeoutError as error:
        raise NoResponse("no whole reply in time") from error
    if response.length is not None and len(body) < response.length:
        raise NoResponse("the connection broke: IncompleteRead")
    return bytes(body)


def _next_chunk(response: HTTPResponse, read: int) -> bytes:
    """What is there of the body, or comes next: `HTTPResponse.read` would wait until all has come."""
    if response.chunked or response.length is None:
        return response.read1(CHUNK_BYTES)
    left = response.length - read
    return response.fp.read1(min(CHUNK_BYTES, left)) if left else b""
