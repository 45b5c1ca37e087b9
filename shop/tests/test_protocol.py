"""HTTP/1.1 connections to a worker: what is answered, and what is refused.

What a client may do slowly or too often is the proxy's: scripts/tests/test_front_limits.py.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from scripts.tests.circles import boots
from shop.http import serving
from shop.tests.live import web

SMALL = "shop.tests.small_application:application"
GET = b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
@boots("a web server")
def small_web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with web(tmp_path_factory.mktemp("small"), workers=1, application=SMALL) as address:
        yield address


def connect(address: str, *, timeout: float = 20) -> socket.socket:
    split = urlsplit(address)
    return socket.create_connection((str(split.hostname), int(split.port or 0)), timeout=timeout)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes


def answer_on(connection: socket.socket, *, has_body: bool = True) -> Answer:
    """Read one response, and no byte after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        assert part, f"closed after {head!r}"
        head += part
    line, _, rest = head.partition(b"\r\n")
    headers, body = parse_headers(BytesIO(rest)), b""
    while has_body and len(body) < int(headers["Content-Length"]):
        body += connection.recv(int(headers["Content-Length"]) - len(body))
    return Answer(int(line.split()[1]), headers, body)


def status_on(connection: socket.socket) -> int:
    return answer_on(connection).status


def problem_on(connection: socket.socket) -> tuple[int, str]:
    """The status and the problem's code, after the connection was closed."""
    answer = answer_on(connection)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Connection"] == "close" and "Server" not in answer.headers
    problem = orjson.loads(answer.body)
    assert problem["status"] == answer.status
    assert problem["type"] == f"urn:firstcome:problem:{problem['code']}"
    assert is_closed(connection)
    return answer.status, problem["code"]


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def exchange(address: str, *parts: bytes) -> tuple[int, bytes]:
    with connect(address) as connection:
        for part in parts:
            connection.sendall(part)
        answer = answer_on(connection)
        return answer.status, answer.body


@pytest.mark.boots("a web server")
def test_bodies_come_whole_with_a_length_or_in_chunks(small_web: str) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
    assert exchange(small_web, head + b"Content-Length: 5\r\n\r\nhello") == (200, b"hello")
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    assert exchange(small_web, chunked, b"2\r\nhe\r\n", b"3;ext=1\r\nllo\r\n0\r\nTrailer: x\r\n\r\n") == (
        200,
        b"hello",
    )


def test_a_client_that_expects_100_continue_gets_it_once_its_body_is_read(small_web: str) -> None:
    head = b" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with connect(small_web) as connection:
        connection.sendall(b"POST /echo" + head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert answer_on(connection).body == b"hello"
        # After a refusal the client may send the body or not, which looks like the next request.
        connection.sendall(b"POST /early" + head)
        answer = answer_on(connection)
        assert (answer.status, answer.headers["Connection"]) == (413, "close")
        assert is_closed(connection)


def test_pipelined_requests_are_answered_in_order(small_web: str) -> None:
    waits = b"GET /wait/0.3 HTTP/1.1\r\nHost: a\r\n\r\n"
    echo = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with connect(small_web) as connection:
        connection.sendall(waits + echo + GET)
        assert [status_on(connection), answer_on(connection).body] == [200, b"abc"]
        assert status_on(connection) == 200


# The start of an HTTP/2 connection by prior knowledge, whose bodies nothing could end.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.mark.parametrize("rest", [b"GET bad\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00", PREFACE])
def test_what_is_not_http_or_is_http_2_is_refused(small_web: str, rest: bytes) -> None:
    with connect(small_web) as connection:
        connection.sendall(rest)
        assert status_on(connection) == 400
        assert is_closed(connection)


@pytest.mark.parametrize("size", [2**16, 6 * 2**20])
def test_a_response_before_the_body_is_whole_reaches_a_client_that_still_sends(
    small_web: str, size: int
) -> None:
    with connect(small_web) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        connection.sendall(b"x" * size)
        answer = answer_on(connection)
        assert answer.status == 413
        # Whether all of it arrived before the response is a matter of chance.
        assert answer.headers["Connection"] != "close" or is_closed(connection)


def test_a_client_that_goes_on_sending_without_end_is_closed(small_web: str) -> None:
    began_at = time.monotonic()
    with connect(small_web) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        with pytest.raises(OSError):
            while True:
                connection.sendall(b"x" * 2**16)
    assert time.monotonic() - began_at < serving.LINGER_SECONDS + 2


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n"])
def test_a_request_without_exactly_one_host_is_refused_after_those_before_it(
    small_web: str, hosts: bytes
) -> None:
    with connect(small_web) as connection:
        connection.sendall(GET + b"GET /x HTTP/1.1\r\n" + hosts + b"\r\n" + GET)
        assert status_on(connection) == 200
        assert problem_on(connection) == (400, "invalid")
        assert connection.recv(1) == b"", "what follows is not read"
    with connect(small_web) as connection:
        connection.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        assert status_on(connection) == 200, "HTTP/1.0 has none"


def test_an_application_error_is_answered_by_a_problem(small_web: str) -> None:
    with connect(small_web) as connection:
        connection.sendall(b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n")
        assert problem_on(connection) == (500, "internal_error")


UPGRADE = b" /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
FRAMED = [
    (b"Content-Length: %d\r\n\r\n" % len(GET), GET),
    (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(GET), GET)),
]


@pytest.mark.parametrize(("framing", "body"), FRAMED)
@pytest.mark.parametrize("method", [b"POST", b"CONNECT"])
@pytest.mark.parametrize("at_once", [True, False])
def test_the_body_of_a_request_for_an_upgrade_is_not_taken_for_the_next_request(
    small_web: str, method: bytes, framing: bytes, body: bytes, at_once: bool
) -> None:
    """A proxy sends the next client's request after it, and that client would get a wrong response."""
    head = method + UPGRADE + framing
    with connect(small_web) as connection, suppress(ConnectionError):
        for part in [head + body + GET] if at_once else [head, body[:9], body[9:] + GET]:
            connection.sendall(part)
            time.sleep(0.02)
        assert problem_on(connection) == (400, "invalid")


@pytest.mark.parametrize(
    "framing", [b"Transfer-Encoding: xchunked", b"Content-Length: 2\r\nTransfer-Encoding: chunked"]
)
def test_a_request_for_an_upgrade_whose_body_ends_nowhere_is_refused(small_web: str, framing: bytes) -> None:
    with connect(small_web) as connection:
        connection.sendall(b"POST" + UPGRADE + framing + b"\r\n\r\n" + GET)
        assert status_on(connection) == 400
        assert is_closed(connection)


def test_a_body_has_ten_seconds_however_it_trickles(small_web: str) -> None:
    with connect(small_web) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        began_at, received = time.monotonic(), b""
        connection.settimeout(0.5)
        while not received:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                received = connection.recv(2**16)
        assert received.startswith(b"HTTP/1.1 408 ") and b"connection: close" in received
        assert serving.BODY_SECONDS - 1 < time.monotonic() - began_at < serving.BODY_SECONDS + 3


def stalled_reader(address: str) -> socket.socket:
    """A connection whose client has a small receive buffer."""
    connection, split = socket.socket(), urlsplit(address)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((str(split.hostname), int(split.port or 0)))
    return connection


def test_a_client_that_pipelines_and_reads_nothing_holds_a_response_or_two(small_web: str) -> None:
    large = b"GET /large/1000000 HTTP/1.1\r\nHost: a\r\n\r\n"
    with stalled_reader(small_web) as connection:
        before = memory_of(small_web)
        connection.sendall(large * 60)
        time.sleep(1)
        assert memory_of(small_web) - before < 20 * 2**20


def memory_of(address: str) -> int:
    pid = int(exchange(address, GET)[1])
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
