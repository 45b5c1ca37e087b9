"""HTTP calls to others, whose every reply may be late, wrong or hostile: bounded in time and size.

By the standard library's client: a call costs half the processor time that it costs by a pool. Each thread
keeps the connections that it made.
"""

import select
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import cast
from urllib.parse import SplitResult, urlsplit

from shop import transactions

LARGEST_ANSWER = 4 * 2**20
CHUNK = 2**16


class Silence(Exception):
    """Nobody answered; whether anybody heard is not known. The text says what came instead."""


class NotConnected(Silence):
    """There was no connection: nobody heard anything."""


class Endless(Exception):
    """Somebody answers, and doesn't end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, whatever it says."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Kept(threading.local):
    """This thread's connections, by scheme and host."""

    def __init__(self) -> None:
        self.connections: dict[tuple[str, str], HTTPConnection] = {}


_kept = _Kept()


def exchange(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, seconds: float
) -> Reply:
    """One request and its whole reply, within so many seconds. Raises `Silence` or `Endless`.

    Tried once: whether to ask again is for the caller to decide, who knows the key and what it costs.
    """
    transactions.assert_outside()
    deadline, where = time.monotonic() + seconds, urlsplit(url)
    connection = _connected(where, seconds)
    is_whole = False
    try:
        connection.request(
            method, f"{where.path}?{where.query}" if where.query else where.path, body, headers
        )
        with closing(connection.getresponse()) as response:
            # A message is a mapping in all but name, whatever the case of its keys.
            headers_heard = cast(Mapping[str, str], response.headers)
            reply = Reply(response.status, headers_heard, _read(response, deadline))
            is_whole = not response.will_close
            return reply
    except TimeoutError as error:
        raise Silence("no reply in time") from error
    except (HTTPException, OSError) as error:
        raise Silence(f"the connection broke: {type(error).__name__}") from error
    finally:
        # What is left of a reply would be taken for the next one.
        if not is_whole:
            connection.close()


def _connected(where: SplitResult, seconds: float) -> HTTPConnection:
    """This thread's connection to there: the one it kept, unless the other side has closed it."""
    name = where.scheme, where.netloc
    connection = _kept.connections.get(name)
    if connection is None:
        connection = _kept.connections[name] = _new(where)
    if connection.sock is not None and _is_readable(connection):
        connection.close()
    connection.timeout = seconds
    if connection.sock is not None:
        connection.sock.settimeout(seconds)
        return connection
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise NotConnected("no connection") from error
    return connection


def _new(where: SplitResult) -> HTTPConnection:
    if where.scheme == "https":
        return HTTPSConnection(where.netloc, context=_trust())
    return HTTPConnection(where.netloc)


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def _is_readable(connection: HTTPConnection) -> bool:
    """Whether something came that nobody asked for: the end, if it keeps to the protocol."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _read(response: HTTPResponse, deadline: float) -> bytes:
    """The whole body, as it came: we ask for no compression, so what is compressed can't be read."""
    body = bytearray()
    while chunk := _next_chunk(response, len(body)):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise Endless("an answer without end")
        if time.monotonic() > deadline:
            raise Silence("no whole reply in time")
    if response.length is not None and len(body) < response.length:
        raise Silence("the connection broke: IncompleteRead")
    return bytes(body)


def _next_chunk(response: HTTPResponse, read: int) -> bytes:
    """What is there of the body, or comes next: `HTTPResponse.read` would wait until all has come."""
    if response.chunked or response.length is None:
        return response.read1(CHUNK)
    left = response.length - read
    return response.fp.read1(min(CHUNK, left)) if left else b""
