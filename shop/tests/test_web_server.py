"""The web server: its workers, what is answered on a connection, what is refused, and bodies before dispatch.

What a client may do slowly or too often is the proxy's: scripts/tests/test_front_limits.py.
"""

import itertools
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import urllib3
from django.contrib.auth.models import User
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from foundation.http import serving as http_serving
from foundation.http.pages.middleware import MAX_CONCURRENT_UPLOADS
from foundation.tests.factories import SuperuserFactory
from foundation.tests.live import Served, serving, web, workers_of
from foundation.tests.racing import wait_until
from foundation.tests.waiting import within
from scripts.stack import places, ports

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.boots("a web server")]
SMALL = "foundation.tests.small_application:application"
GET = b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def small_web(django_db_setup, tmp_path_factory):
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


def answer_on(connection: socket.socket) -> Answer:
    """Read one response, and no byte after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        assert part, f"closed after {head!r}"
        head += part
    line, _, rest = head.partition(b"\r\n")
    headers, body = parse_headers(BytesIO(rest)), b""
    while len(body) < int(headers["Content-Length"]):
        body += connection.recv(int(headers["Content-Length"]) - len(body))
    return Answer(int(line.split()[1]), headers, body)


def begin_waiting(connection: socket.socket, seconds: int):
    """Send a request that is answered after so many seconds, behind one whose answer says that a worker has
    both."""
    connection.sendall(GET + b"GET /wait/%d HTTP/1.1\r\nHost: a\r\n\r\n" % seconds)


def status_on(connection: socket.socket) -> int:
    return answer_on(connection).status


def problem_on(connection: socket.socket) -> tuple[int, str]:
    """The status and the problem's code, after the connection was closed."""
    answer = answer_on(connection)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Connection"] == "close" and "Server" not in answer.headers
    problem = orjson.loads(answer.body)
    assert problem["status"] == answer.status
    # A proxy's own has neither.
    assert problem.get("request_id") == answer.headers["X-Request-ID"]
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


def test_bodies_come_whole_with_a_length_or_in_chunks_and_pipelined_requests_are_answered_in_order(small_web):
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
    assert exchange(small_web, head + b"Content-Length: 5\r\n\r\nhello") == (200, b"hello")
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    parts = (b"2\r\nhe\r\n", b"3;ext=1\r\nllo\r\n0\r\nTrailer: x\r\n\r\n")
    assert exchange(small_web, chunked, *parts) == (200, b"hello")
    waits = b"GET /wait/0.3 HTTP/1.1\r\nHost: a\r\n\r\n"
    echo = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with connect(small_web) as connection:
        connection.sendall(waits + echo + GET)
        assert [status_on(connection), answer_on(connection).body] == [200, b"abc"]
        assert status_on(connection) == 200


def test_a_client_that_expects_100_continue_gets_it_once_its_body_is_read(small_web):
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


# The start of an HTTP/2 connection by prior knowledge, whose bodies nothing could end.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


UPGRADE = b" /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
PREFLIGHT = (
    UPGRADE.replace(b"/echo", b"/api/v1/orders")
    + b"Origin: https://a\r\nAccess-Control-Request-Method: POST\r\n"
)
# Bodies that end nowhere.
ENDLESS = (b"Transfer-Encoding: xchunked", b"Content-Length: 2\r\nTransfer-Encoding: chunked")


@pytest.mark.parametrize(
    "rest",
    [
        *(b"GET bad\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00", PREFACE),
        *(b"POST" + UPGRADE + framing + b"\r\n\r\n" + GET for framing in ENDLESS),
    ],
)
def test_what_is_not_http_or_is_http_2_or_an_upgrade_with_an_endless_body_is_refused(small_web, rest):
    with connect(small_web) as connection:
        connection.sendall(rest)
        assert status_on(connection) == 400
        assert is_closed(connection)


@pytest.mark.parametrize("size", [2**16, 6 * 2**20])
def test_a_response_before_the_body_is_whole_reaches_a_client_that_still_sends(small_web, size):
    with connect(small_web) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        connection.sendall(b"x" * size)
        answer = answer_on(connection)
        assert answer.status == 413
        # Whether all of it arrived before the response is a matter of chance.
        assert answer.headers["Connection"] != "close" or is_closed(connection)


def test_a_client_that_goes_on_sending_without_end_is_closed(small_web):
    with within(http_serving.LINGER_SECONDS + 2), connect(small_web) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        with pytest.raises(OSError):
            while True:
                connection.sendall(b"x" * 2**16)


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n"])
def test_a_request_without_exactly_one_host_is_refused_after_those_before_it(small_web, hosts):
    with connect(small_web) as connection:
        connection.sendall(GET + b"GET /x HTTP/1.1\r\n" + hosts + b"\r\n" + GET)
        assert status_on(connection) == 200
        assert problem_on(connection) == (400, "invalid")
        assert connection.recv(1) == b"", "what follows is not read"
    with connect(small_web) as connection:
        connection.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        assert status_on(connection) == 200, "HTTP/1.0 has none"
    with connect(small_web) as connection:
        connection.sendall(b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n")
        assert problem_on(connection) == (500, "internal_error"), "as an error of the application is"


FRAMED = [
    (b"Content-Length: %d\r\n\r\n" % len(GET), GET),
    (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(GET), GET)),
]


@pytest.mark.parametrize(("framing", "body"), FRAMED)
@pytest.mark.parametrize("start", [b"POST" + UPGRADE, b"CONNECT" + UPGRADE, b"OPTIONS" + PREFLIGHT])
@pytest.mark.parametrize("at_once", [True, False])
def test_the_body_of_a_request_for_an_upgrade_is_not_taken_for_the_next_request(
    small_web, start, framing, body, at_once
):
    """A proxy sends the next client's request after it, and that client would get a wrong response."""
    head = start + framing
    with connect(small_web) as connection, suppress(ConnectionError):
        for part in [head + body + GET] if at_once else [head, body[:9], body[9:] + GET]:
            connection.sendall(part)
            time.sleep(0.02)
        assert problem_on(connection) == (400, "invalid")


def test_a_body_has_ten_seconds_however_it_trickles(small_web):
    with connect(small_web) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        began_at, received = time.monotonic(), b""
        connection.settimeout(0.5)
        while not received:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                received = connection.recv(2**16)
        assert received.startswith(b"HTTP/1.1 408 ") and b"connection: close" in received
        assert http_serving.BODY_SECONDS - 1 < time.monotonic() - began_at < http_serving.BODY_SECONDS + 3


def stalled_reader(address: str) -> socket.socket:
    """A connection whose client has a small receive buffer."""
    connection, split = socket.socket(), urlsplit(address)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((str(split.hostname), int(split.port or 0)))
    return connection


def test_a_client_that_pipelines_and_reads_nothing_holds_a_response_or_two(small_web):
    large = b"GET /large/1000000 HTTP/1.1\r\nHost: a\r\n\r\n"
    with stalled_reader(small_web) as connection:
        before = memory_of(small_web)
        connection.sendall(large * 60)
        time.sleep(1)
        assert memory_of(small_web) - before < 20 * 2**20


def memory_of(address: str) -> int:
    pid = int(exchange(address, GET)[1])
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Its workers


@contextmanager
def small(folder: Path, *, workers=2) -> Iterator[Served]:
    with serving(folder, workers=workers, application=SMALL) as server:
        wait_until(lambda: len(answering(server.address)) == workers, seconds=40)
        yield server


def answering(address: str, times=30) -> Counter[int]:
    return Counter(int(exchange(address, GET)[1]) for _ in range(times))


def is_refused(address: str) -> bool:
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_answers_waiting_requests_and_accepts_no_new_ones(tmp_path):
    with small(tmp_path) as server, ExitStack() as closing:
        idle, *waiting = (closing.enter_context(connect(server.address)) for _ in range(21))
        for connection in waiting:
            begin_waiting(connection, seconds=2)
        assert {status_on(connection) for connection in waiting} == {200}
        server.child.terminate()
        wait_until(lambda: is_refused(server.address), seconds=5)
        answers = [answer_on(connection) for connection in waiting]
        assert {(answer.status, answer.headers["Connection"]) for answer in answers} == {(200, "close")}
        assert idle.recv(1) == b""
        assert server.child.wait(timeout=10) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_that_still_wait_when_the_stop_time_is_over_get_503(tmp_path, workers):
    with small(tmp_path, workers=workers) as server, connect(server.address) as waiting:
        begin_waiting(waiting, seconds=60)
        assert status_on(waiting) == 200
        began_at = time.monotonic()
        server.child.terminate()
        answer = answer_on(waiting)
        # Not `overloaded`, which says that nothing was done.
        assert (answer.status, orjson.loads(answer.body)["code"]) == (503, "unavailable")
        assert server.child.wait(timeout=10) == 0
        assert 2.5 < time.monotonic() - began_at < 8


def test_a_killed_worker_is_replaced_no_client_is_refused_meanwhile_and_a_port_that_is_taken_is_named(
    tmp_path,
):
    with small(tmp_path) as server:
        port = str(urlsplit(server.address).port)
        command = [sys.executable, "-m", "gunicorn", "--config", "python:shop.web_server", SMALL]
        command += ["--bind", f"{ports.HOST}:{port}"]
        ended = subprocess.run(command, cwd=places.PROJECT, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1
        assert port in ended.stderr and "in use" in ended.stderr
        before = workers_of(server.child.pid)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        answered = answering(server.address, times=100)
        assert killed not in answered
        wait_until(lambda: len(workers_of(server.child.pid) - {killed}) == 2, seconds=5)
        [new] = workers_of(server.child.pid) - before
        wait_until(lambda: answering(server.address)[new] > 0, seconds=40)


def test_a_worker_that_dies_during_a_hang_up_does_not_end_the_replacement(tmp_path):
    with small(tmp_path) as server:
        before = workers_of(server.child.pid)
        server.child.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers_of(server.child.pid)) > 2, seconds=20)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(now := workers_of(server.child.pid)) == 2 and not now & before, seconds=90)


def test_workers_end_when_their_manager_is_killed(tmp_path):
    with small(tmp_path) as server:
        workers = workers_of(server.child.pid)
        with connect(server.address) as waiting:
            begin_waiting(waiting, seconds=2)
            assert status_on(waiting) == 200
            server.child.kill()
            wait_until(lambda: is_refused(server.address), seconds=5)
            assert answer_on(waiting).status == 200
        wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers), seconds=10)


@pytest.mark.parametrize("traced", ["", "http://127.0.0.1:9/"])
def test_the_manager_that_forks_has_one_thread_and_no_connection(tmp_path, traced):
    """A worker would have another's: a lock that no thread releases, a connection that two processes use."""
    with serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=traced) as server:
        manager = Path(f"/proc/{server.child.pid}")
        assert urllib3.request("GET", f"{server.address}/api/v1/products", retries=False).status == 200
        assert len(list((manager / "task").iterdir())) == 1
        [(soft, hard)] = re.findall(r"Max open files +(\d+) +(\d+)", (manager / "limits").read_text())
        assert soft == hard, "each connection is an open file"
        descriptors = [str(path.readlink()) for path in (manager / "fd").iterdir()]
        assert sum(one.startswith("socket:") for one in descriptors) == 1, "the one that listens"


@pytest.mark.parametrize("is_make_run", [True, False])
def test_the_workers_of_make_run_have_a_processor_each(tmp_path, is_make_run):
    own = {"FIRSTCOME_VAR": str(tmp_path) if is_make_run else "", "WEB_WORKERS": "2"}
    here = sorted(os.sched_getaffinity(0))
    with serving(tmp_path, workers=2, application=SMALL, **own) as server:
        wait_until(lambda: len(answering(server.address)) == 2, seconds=40)
        processors = sorted(sorted(os.sched_getaffinity(pid)) for pid in workers_of(server.child.pid))
        assert processors == (
            sorted([here[slot % len(here)]] for slot in range(2)) if is_make_run else [here] * 2
        )


def test_nothing_of_uvicorn_is_used_that_may_change_without_notice():
    for path in Path(places.PROJECT).glob("shop/**/*.py"):
        text = path.read_text()
        assert path == Path(__file__) or not re.search(
            r"uvicorn\._|uvicorn\.protocols|HttpToolsProtocol", text
        ), path


# Request bodies before dispatch: their size, their sender, and how long the server waits for them

IMPORT = "/admin/inventory/product/import/"
BOUNDARY = "b0undary"
CSRF = "c" * 32


def multipart(size: int) -> bytes:
    """A form with a CSRF token, a small CSV file, and a file of this size that no page reads."""
    names = {
        '"csrfmiddlewaretoken"': CSRF.encode(),
        '"form_id"': str(uuid7()).encode(),
        '"reason"': b"A delivery.",
        '"file"; filename="d.csv"': b"sku,name,price,quantity\nCUP,Cup,1,1\n",
        '"filling"; filename="large"': b"x" * size,
    }
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode()
    parts = [head + name.encode() + b"\r\n\r\n" + value + b"\r\n" for name, value in names.items()]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def head_of(
    method: str,
    path: str,
    *lines: str,
    cookies="",
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
) -> bytes:
    given = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Cookie: csrftoken={CSRF}; {cookies}",
        f"Content-Type: {content_type}",
        *lines,
    ]
    return "\r\n".join(given).encode() + b"\r\n\r\n"


def outcome_on(connection: socket.socket) -> tuple[int, str]:
    answer = answer_on(connection)
    is_problem = answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, orjson.loads(answer.body)["code"] if is_problem else ""


def session_of(user) -> str:
    return f"sessionid={signed_in(user).cookies['sessionid'].value}"


def upload(address: str, body: bytes, *, cookies: str) -> urllib3.BaseHTTPResponse:
    headers = {
        "Cookie": f"csrftoken={CSRF}; {cookies}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    return urllib3.request("POST", address + IMPORT, body=body, headers=headers, retries=False)


def test_only_staff_may_upload_more_and_other_uploads_are_not_written_to_disk(tmp_path):
    (own_folder := tmp_path / "temporary").mkdir()
    staff, buyer = SuperuserFactory(), User.objects.create_user("buyer")
    with web(tmp_path, TMPDIR=str(own_folder)) as address:
        for cookies in ("", session_of(buyer), "sessionid=forged"):
            with connect(address) as connection:
                connection.sendall(head_of("POST", IMPORT, f"Content-Length: {2**20}", cookies=cookies))
                assert outcome_on(connection) == (413, "too_large"), cookies
        assert list(own_folder.iterdir()) == []

        accepted = upload(address, multipart(3 * 2**20), cookies=session_of(staff))
        assert (accepted.status, b"CUP" in accepted.data) == (200, True)
        # Only the CSV file, until the upload is confirmed.
        assert [path.stat().st_size < 100 for path in own_folder.iterdir()] == [True]
        too_large = upload(address, multipart(32 * 2**20), cookies=session_of(staff))
        assert (too_large.status, too_large.json()["detail"]) == (413, "The upload is larger than 32 MiB.")


def test_a_process_holds_two_uploads_at_once_and_refuses_the_next_before_it_is_read(tmp_path):
    cookies, body = session_of(SuperuserFactory()), multipart(2**20)
    head = head_of("POST", IMPORT, f"Content-Length: {len(body)}", cookies=cookies)
    with web(tmp_path, workers=1) as address, ExitStack() as closing:
        connections = [closing.enter_context(connect(address)) for _ in range(8)]
        for connection in connections:
            connection.sendall(head)

        def answered():
            return select.select(connections, [], [], 0)[0]

        wait_until(lambda: len(answered()) == 8 - MAX_CONCURRENT_UPLOADS, seconds=8)
        refused = answered()
        assert {outcome_on(connection) for connection in refused} == {(503, "overloaded")}
        accepted = [connection for connection in connections if connection not in refused]
        for connection in accepted:
            connection.sendall(body)
        assert [outcome_on(connection)[0] for connection in accepted] == [200, 200]
        # Their slots are free again.
        assert upload(address, body, cookies=cookies).status == 200


def slow_call(address: str, *lines: str) -> socket.socket:
    connection = connect(address)
    beginning = b"5\r\n{" if any("chunked" in line for line in lines) else b"{"
    connection.sendall(head_of("POST", "/api/v1/auth/token", *lines) + beginning)
    return connection


def test_140_slow_senders_hold_no_thread_and_are_ended_after_10_seconds(tmp_path):
    with web(tmp_path, workers=1, WEB_THREADS="4") as address, ExitStack() as closing:
        began_at = time.monotonic()
        lengths = itertools.cycle(["Content-Length: 1000", "Transfer-Encoding: chunked"])
        slow = [closing.enter_context(slow_call(address, next(lengths))) for _ in range(140)]
        answers = list(calls_meanwhile(address, until=began_at + 6))
        assert len(answers) > 10
        assert max(seconds for _, seconds in answers) < 2
        assert {status for status, _ in answers} <= {200, 401, 429}
        assert select.select(slow, [], [], 0)[0] == [], "they still have time"

        assert {outcome_on(connection) for connection in slow} == {(408, "request_timeout")}
        assert 10 <= time.monotonic() - began_at < 20


def calls_meanwhile(address: str, *, until: float) -> Iterator[tuple[int, float]]:
    """Status and duration of calls that need a thread, of one that hashes, and of a page."""
    paths = itertools.cycle(["/healthz", "/api/v1/products", "/admin/login/", "/api/v1/auth/token"])
    while time.monotonic() < until:
        path, began_at = next(paths), time.monotonic()
        body = {"username": "ada", "password": "x"} if path.endswith("token") else None
        answer = urllib3.request(
            "POST" if body else "GET", address + path, json=body, retries=False, timeout=20
        )
        yield answer.status, time.monotonic() - began_at


READ = b"GET /api/v1/products HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_slow_bodies_are_ended_behind_an_answered_request_too_and_connections_in_use_outlast_that(tmp_path):
    """A head may arrive before the response to the one before is sent: its connection looks answered. And
    connections to the database and to Redis stay, or calls would fail.
    """
    begun = head_of("POST", "/api/v1/auth/token", "Content-Length: 1000") + b"{"
    with web(tmp_path, WEB_THREADS="4") as address, ExitStack() as closing:
        used, slow, behind = (closing.enter_context(connect(address)) for _ in range(3))
        slow.sendall(begun)
        behind.sendall(READ + begun)
        assert outcome_on(behind)[0] == 200
        while not select.select([slow], [], [], 0.5)[0]:
            used.sendall(READ)
            assert outcome_on(used)[0] == 200
        assert outcome_on(slow) == outcome_on(behind) == (408, "request_timeout")
        used.sendall(READ)
        assert outcome_on(used)[0] == 200
