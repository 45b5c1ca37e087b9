"""HTTP/1.1 connections: what is answered, what is refused, and after how long connections are closed."""

import os
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from scripts.tests.circles import boots
from shop.server import connections, protocol
from shop.server.connections import Connections
from shop.tests.live import web
from shop.tests.racing import wait_until

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


def test_pipelined_requests_are_answered_in_order_and_a_bad_one_after_them(small_web: str) -> None:
    waits = b"GET /wait/0.3 HTTP/1.1\r\nHost: a\r\n\r\n"
    echo = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with connect(small_web) as connection:
        connection.sendall(waits + echo + b"GET bad\r\n\r\n")
        assert [status_on(connection), answer_on(connection).body] == [200, b"abc"]
        assert problem_on(connection) == (400, "invalid")


def test_requests_pipelined_without_end_are_served_a_few_at_a_time(small_web: str) -> None:
    """One chunk from the socket can contain thousands of requests."""
    with connect(small_web) as connection:
        connection.sendall(b"GET /wait/0.3 HTTP/1.1\r\nHost: a\r\n\r\n" + GET * 5_000)
        received = b""
        while part := connection.recv(2**16):
            received += part
    assert received.count(b"HTTP/1.1 200 OK") == protocol.MAX_PIPELINED_REQUESTS + 1
    assert received.count(b"connection: close") == 1


def test_a_client_that_closes_its_sending_side_gets_its_response(small_web: str) -> None:
    for path, status in (("/wait/0.2", 200), ("/echo", 200)):
        with connect(small_web) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            connection.shutdown(socket.SHUT_WR)
            assert status_on(connection) == status
            assert is_closed(connection)


def test_an_application_learns_that_a_body_breaks_off_and_may_still_answer(small_web: str) -> None:
    with connect(small_web) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert status_on(connection) == 408
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
    assert time.monotonic() - began_at < connections.LINGER_SECONDS


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


def test_the_framing_of_chunks_is_bounded_too(small_web: str) -> None:
    """Extensions and trailers are not part of the body, which the application counts."""
    with connect(small_web) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b"1;" + b"x" * 2**17 + b"\r\na\r\n")
                time.sleep(0.01)
            connection.recv(1)
            connection.sendall(b"x" * 2**20)


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
    parts = [head + body + GET + head + body] if at_once else [head, body[:9], body[9:] + GET, head, body]
    with connect(small_web) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.02)
        assert answer_on(connection).body == GET
        assert status_on(connection) == 200
        assert answer_on(connection).body == GET
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize(
    "framing", [b"Transfer-Encoding: xchunked", b"Content-Length: 2\r\nTransfer-Encoding: chunked"]
)
def test_a_request_for_an_upgrade_whose_body_ends_nowhere_is_refused(small_web: str, framing: bytes) -> None:
    with connect(small_web) as connection:
        connection.sendall(b"POST" + UPGRADE + framing + b"\r\n\r\n" + GET)
        assert problem_on(connection) == (400, "invalid")


@pytest.mark.parametrize("before", [b"", GET])
def test_an_absolute_target_without_a_path_is_the_root(small_web: str, before: bytes) -> None:
    with connect(small_web) as connection:
        connection.sendall(before + b"GET http://a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [status_on(connection) for _ in range(2 if before else 1)] == [200] * (2 if before else 1)


def seconds_until_closed(connection: socket.socket, dripping: bytes) -> tuple[float, bytes]:
    """The time until the server closes, while a byte is sent each half second; and what it sent."""
    began_at, received = time.monotonic(), b""
    connection.settimeout(0.5)
    while time.monotonic() - began_at < 25:
        try:
            connection.sendall(dripping)
            part = connection.recv(2**16)
        except TimeoutError:
            continue
        except OSError:
            break
        received += part
        if not part:
            break
    return time.monotonic() - began_at, received


def test_a_head_has_ten_seconds_from_its_first_byte_however_it_trickles(small_web: str) -> None:
    with connect(small_web) as first, connect(small_web) as second, connect(small_web) as silent:
        first.sendall(b"GET / HTTP/1.1\r\nA: ")
        second.sendall(GET)
        assert status_on(second) == 200
        second.sendall(b"GET / HTTP/1.1\r\nA: ")
        seconds, received = seconds_until_closed(first, b"x")
        assert connections.HEAD_SECONDS - 1 < seconds < connections.HEAD_SECONDS + 3
        assert b"408 Request Timeout" in received and b"request_timeout" in received
        assert problem_on(second) == (408, "request_timeout")
        # Without a request there is no response.
        assert silent.recv(100) == b""


class Connected:
    """A connection with the interface that the table of connections uses."""

    is_closed = False

    def refuse_late_head(self) -> None:
        self.is_closed = True

    def close(self) -> None:
        self.is_closed = True


def test_a_client_that_reads_nothing_is_disconnected_by_the_server(small_web: str) -> None:
    """Also when the data is in the system's own buffer."""
    with stalled_reader(small_web) as connection:
        connection.sendall(b"GET /large/30000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        states, began_at = select.poll(), time.monotonic()
        states.register(connection, select.POLLERR | select.POLLHUP)
        assert states.poll((connections.UNSENT_SECONDS + 10) * 1000)
        assert time.monotonic() - began_at > connections.UNSENT_SECONDS - 1


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


def test_connections_are_counted_by_network_unless_they_come_from_this_machine() -> None:
    table = Connections(most=100, most_per_address=2)
    same = ["2001:db8::1", "2001:db8::2"]
    assert [table.admit(address) for address in same] == ["2001:db8::/64"] * 2
    assert table.admit("2001:db8::3") is None
    assert table.admit("2001:db8:0:1::3") == "2001:db8:0:1::/64"
    assert [table.admit("192.0.2.1"), table.admit("::ffff:192.0.2.1")] == ["192.0.2.1"] * 2
    assert table.admit("192.0.2.1") is None
    assert [table.admit(local) for local in ("127.0.0.1", "::1", "::ffff:127.0.0.9")] == [""] * 3
    table.forget(Connected(), "192.0.2.1")
    assert table.admit("192.0.2.1") == "192.0.2.1"
    assert Connections(most=1, most_per_address=None).admit("192.0.2.1") == ""


def test_at_the_limit_of_open_files_the_longest_idle_connection_goes_first() -> None:
    table = Connections(most=2, most_per_address=None)
    old, new = Connected(), Connected()
    table.connections.update({old, new})
    table.idle.update({old: 1.0, new: 2.0})
    assert table.admit("192.0.2.1") == ""
    assert [old.is_closed, new.is_closed] == [True, False]
    assert table.admit("192.0.2.1") == ""
    assert table.admit("192.0.2.1") is None


def test_idle_connections_outlast_a_proxys() -> None:
    table = Connections(most=9, most_per_address=9)
    idle = Connected()
    table.idle[idle] = 0.0
    table.sweep(74.0)
    assert not idle.is_closed
    table.sweep(75.0)
    assert idle.is_closed and not table.idle


def own_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


@pytest.mark.boots("a web server")
def test_too_many_connections_from_one_address_are_answered_503_and_closed(tmp_path: Path) -> None:
    own = own_address()
    if own is None:
        pytest.skip("this machine has only the loopback address")
    settings = {"CONNECTIONS_PER_ADDRESS": "3", "ALLOWED_HOSTS": own}
    with web(tmp_path, workers=1, application=SMALL, host=own, **settings) as address:
        kept = [connect(address) for _ in range(3)]
        for connection in kept:
            connection.sendall(GET)
            assert status_on(connection) == 200
        with connect(address) as refused:
            assert problem_on(refused) == (503, "overloaded")
        kept.pop().close()
        wait_until(lambda: exchange(address, GET)[0] == 200)
        for connection in kept:
            connection.close()
