"""HTTP calls to other systems, whose replies may be late, wrong or hostile: bounded in time and size.

It uses the standard library's client: a call costs half the processor time of one through a connection pool.
Each thread keeps the connections that it opened.
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

from shop.db import open_transaction

LARGEST_RESPONSE_BYTES = 4 * 2**20
CHUNK_BYTES = 2**16


class NoResponse(Exception):
    """No whole reply was received; whether the request arrived is unknown. The message says what happened."""


class NotConnected(NoResponse):
    """No connection could be opened: the request was not sent."""


class ResponseTooLarge(Exception):
    """The reply is longer than `LARGEST_RESPONSE_BYTES`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply with any status."""

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
    """Send one request and read its whole reply within `seconds`. Raises `NoResponse` or `ResponseTooLarge`.

    One deadline holds for connecting, TLS, sending, headers and body; only the lookup of the host's name is
    left to the system's resolver. There are no retries: the caller decides, because it knows the idempotency
    key.
    """
    open_transaction.assert_outside()
    deadline, address = time.monotonic() + seconds, urlsplit(url)
    connection = _open_connection(address, deadline)
    is_whole = False
    try:
        connection.request(
            method, f"{address.path}?{address.query}" if address.query else address.path, body, headers
        )
        with closing(connection.getresponse()) as response:
            # `Message` acts as a case-insensitive mapping, though it isn't typed as one.
            response_headers = cast(Mapping[str, str], response.headers)
            reply = Reply(response.status, response_headers, _read_body(response))
            is_whole = not response.will_close
            return reply
    except TimeoutError as error:
        raise NoResponse("no reply in time") from error
    except (HTTPException, OSError) as error:
        raise NoResponse(f"the connection broke: {type(error).__name__}") from error
    finally:
        # The unread rest of a reply would be taken for the next one.
        if not is_whole:
            connection.close()


class _DeadlineSocket(socket.socket):
    """A socket whose operations all end by one `deadline`.

    The standard library's timeouts are per operation: a reply that drips would never exceed one.
    """

    deadline = 0.0

    def bound(self) -> None:
        """Bound the next operation by the remaining time. Raises `TimeoutError` when none is left."""
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
    """A deadline socket with TLS."""


class _Connection(HTTPConnection):
    """A connection whose opening and use are bounded by one deadline at a time."""

    sock: _DeadlineSocket | None
    deadline = 0.0

    def connect(self) -> None:
        """Try the host's addresses one after the other until the deadline."""
        errors: list[OSError] = []
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        ):
            candidate = _DeadlineSocket(family, kind, protocol)
            candidate.deadline = self.deadline
            try:
                candidate.bound()
                candidate.connect(address)
                candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sock = self.secured(candidate)
                return
            except OSError as error:
                candidate.close()
                errors.append(error)
        raise errors[-1]

    def secured(self, plain: _DeadlineSocket) -> _DeadlineSocket:
        return plain


class _SecureConnection(_Connection):
    """A connection with TLS."""

    default_port = HTTPS_PORT

    def secured(self, plain: _DeadlineSocket) -> _DeadlineSocket:
        secure = cast(
            _DeadlineTLSSocket,
            _tls_context().wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False),
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


def _open_connection(address: SplitResult, deadline: float) -> _Connection:
    """This thread's connection to the address: the kept one, unless the other side has closed it."""
    name = address.scheme, address.netloc
    connection = _thread_connections.connections.get(name)
    if connection is None:
        connection = _thread_connections.connections[name] = CONNECTION_CLASSES[address.scheme](
            address.netloc
        )
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


def _is_readable(kept: socket.socket) -> bool:
    """Whether an idle connection has data to read: the end of the stream, if the server keeps to HTTP."""
    poll = select.poll()
    poll.register(kept, select.POLLIN)
    return bool(poll.poll(0))


def _read_body(response: HTTPResponse) -> bytes:
    """The whole body, undecoded: requests don't accept compression."""
    body = bytearray()
    try:
        while chunk := _next_chunk(response, len(body)):
            body += chunk
            if len(body) > LARGEST_RESPONSE_BYTES:
                raise ResponseTooLarge("the reply is too large")
    except TimeoutError as error:
        raise NoResponse("no whole reply in time") from error
    if response.length is not None and len(body) < response.length:
        raise NoResponse("the connection broke: IncompleteRead")
    return bytes(body)


def _next_chunk(response: HTTPResponse, read: int) -> bytes:
    """The next available part of the body: `HTTPResponse.read` would wait for all of it."""
    if response.chunked or response.length is None:
        return response.read1(CHUNK_BYTES)
    left = response.length - read
    return response.fp.read1(min(CHUNK_BYTES, left)) if left else b""
