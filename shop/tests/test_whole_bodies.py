"""Bodies before anything is decided: how large, from whom, and for how long they are waited for."""

import itertools
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import urllib3
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from shop.middleware import UPLOADS_HELD
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.live import web
from shop.tests.racing import wait_until

IMPORT = "/admin/inventory/product/import/"
PATHS = [
    "/",
    "/healthz",
    "/metrics",
    "/api/schema/",
    "/admin/login/",
    "/api/v1/auth/token",
    "/nowhere",
    IMPORT,
]
BOUNDARY = "b0undary"
CSRF = "c" * 32
LARGE = 24 * 2**20

pytestmark = pytest.mark.django_db(transaction=True)


def multipart(size: int) -> bytes:
    """A form with a CSRF token, a small CSV file, and a file of so many bytes that no page looks at."""
    names = {
        '"csrfmiddlewaretoken"': CSRF.encode(),
        '"format"': b"0",
        '"import_file"; filename="d.csv"': b"sku,name,price,quantity\nCUP,Cup,1,1\n",
        '"filling"; filename="large"': b"x" * size,
    }
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode()
    parts = [head + name.encode() + b"\r\n\r\n" + value + b"\r\n" for name, value in names.items()]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def connect(address: str) -> socket.socket:
    split = urlsplit(address)
    return socket.create_connection((str(split.hostname), int(split.port or 0)), timeout=30)


def head_of(method: str, path: str, *lines: str, cookies: str = "") -> bytes:
    given = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Cookie: csrftoken={CSRF}; {cookies}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        *lines,
    ]
    return "\r\n".join(given).encode() + b"\r\n\r\n"


def answer_on(connection: socket.socket) -> tuple[int, str]:
    """The status and the problem's code; no code where it is none."""
    answer = HTTPResponse(connection)
    answer.begin()
    is_problem = answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, orjson.loads(answer.read())["code"] if is_problem else ""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_declared_24_mib_are_refused_everywhere_before_they_are_sent(
    live_web: str, path: str, method: str
) -> None:
    with connect(live_web) as connection:
        connection.sendall(head_of(method, path, f"Content-Length: {LARGE}"))
        assert answer_on(connection) == (413, "too_large")


@pytest.mark.parametrize("path", PATHS)
def test_bodies_in_chunks_are_counted_everywhere_and_refused_past_the_limit(live_web: str, path: str) -> None:
    with connect(live_web) as connection:
        connection.sendall(head_of("POST", path, "Transfer-Encoding: chunked"))
        connection.sendall(b"%x\r\n" % 70_000 + b"x" * 70_000 + b"\r\n0\r\n\r\n")
        assert answer_on(connection) == (413, "too_large")


@pytest.fixture
def own_folder(tmp_path: Path) -> Iterator[Path]:
    """Where a server of the test's own puts its temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    yield folder


def session_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


def upload(address: str, body: bytes, *, cookies: str) -> urllib3.BaseHTTPResponse:
    headers = {
        "Cookie": f"csrftoken={CSRF}; {cookies}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    return urllib3.request("POST", address + IMPORT, body=body, headers=headers, retries=False)


def test_only_staff_may_upload_more_and_nothing_of_others_comes_on_disk(
    own_folder: Path, tmp_path: Path
) -> None:
    staff, buyer = SuperuserFactory.create(), User.objects.create_user("buyer")
    with web(tmp_path, TMPDIR=str(own_folder)) as address:
        for cookies in ("", session_of(buyer), "sessionid=forged"):
            with connect(address) as connection:
                connection.sendall(head_of("POST", IMPORT, f"Content-Length: {2**20}", cookies=cookies))
                assert answer_on(connection) == (413, "too_large"), cookies
        assert list(own_folder.iterdir()) == []

        taken = upload(address, multipart(3 * 2**20), cookies=session_of(staff))
        assert (taken.status, b"CUP" in taken.data) == (200, True)
        # The CSV file alone, until somebody confirms it.
        assert [path.stat().st_size < 100 for path in own_folder.iterdir()] == [True]
        too_large = upload(address, multipart(8 * 2**20), cookies=session_of(staff))
        assert (too_large.status, too_large.json()["detail"]) == (413, "The upload is larger than 8 MiB.")


def test_staff_who_lack_a_permission_of_the_page_are_refused_before_their_upload_is_read(
    live_web: str,
) -> None:
    needed = settings.UPLOADS[IMPORT].permissions
    for held in [(), *itertools.combinations(needed, len(needed) - 1)]:
        cookies = session_of(AccountFactory.create(is_staff=True, permissions=held))
        with connect(live_web) as connection:
            connection.sendall(head_of("POST", IMPORT, f"Content-Length: {2**20}", cookies=cookies))
            assert answer_on(connection) == (403, "permission_denied"), held


def test_a_process_holds_two_uploads_at_once_and_refuses_the_next_before_it_is_read(tmp_path: Path) -> None:
    cookies, body = session_of(SuperuserFactory.create()), multipart(2**20)
    head = head_of("POST", IMPORT, f"Content-Length: {len(body)}", cookies=cookies)
    with web(tmp_path, workers=1) as address, ExitStack() as closing:
        connections = [closing.enter_context(connect(address)) for _ in range(8)]
        for connection in connections:
            connection.sendall(head)

        def answered() -> list[socket.socket]:
            return select.select(connections, [], [], 0)[0]

        wait_until(lambda: len(answered()) == 8 - UPLOADS_HELD, seconds=8)
        refused = answered()
        assert {answer_on(connection) for connection in refused} == {(503, "overloaded")}
        taken = [connection for connection in connections if connection not in refused]
        for connection in taken:
            connection.sendall(body)
        assert [answer_on(connection)[0] for connection in taken] == [200, 200]
        # Their places are free again.
        assert upload(address, body, cookies=cookies).status == 200


def slow_call(address: str, *lines: str) -> socket.socket:
    """A connection that begins to send a body, and doesn't go on."""
    connection = connect(address)
    connection.sendall(head_of("POST", "/api/v1/auth/token", *lines) + b"{")
    return connection


def seconds_of_healthz(address: str) -> float:
    began_at = time.monotonic()
    assert urllib3.request("GET", f"{address}/healthz", retries=False, timeout=20).status == 200
    return time.monotonic() - began_at


def test_slow_bodies_on_many_connections_do_not_stop_the_shop_and_are_ended(tmp_path: Path) -> None:
    with web(tmp_path, WEB_THREADS="4") as address:
        slow = [slow_call(address, "Content-Length: 1000") for _ in range(32)]
        # Those that have a place dribble on, as slow as their body would take hours.
        assert max(seconds_of_healthz(address) for _ in range(8)) < 2
        began_at = time.monotonic()
        answers = [answer_on(connection) for connection in slow]
        assert time.monotonic() - began_at < 20
        assert set(answers) == {(408, "request_timeout"), (503, "overloaded")}
        for connection in slow:
            connection.close()

        refused = urllib3.request(
            "POST", f"{address}/api/v1/auth/token", json={"username": "ada", "password": "x"}, retries=False
        )
        assert refused.status == 401


def test_a_body_that_drips_is_ended_although_each_byte_comes_soon(tmp_path: Path) -> None:
    # Of fewer threads one may read, and then has less time.
    with web(tmp_path, WEB_THREADS="8") as address, slow_call(address, "Content-Length: 1000") as connection:
        connection.settimeout(0.2)
        began_at, heard = time.monotonic(), b""

        def is_answered() -> bool:
            nonlocal heard
            try:
                connection.sendall(b" ")
                heard += connection.recv(65_536)
            except TimeoutError:
                return False
            except OSError:
                return True
            return b"request_timeout" in heard

        wait_until(is_answered, seconds=20)
        assert b" 408 " in heard and time.monotonic() - began_at > 5


def test_a_body_that_breaks_off_is_not_taken_for_a_shorter_one(live_web: str) -> None:
    with slow_call(live_web, "Content-Length: 1000") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert answer_on(connection) == (408, "request_timeout")


READ = b"GET /api/v1/products HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_a_slow_body_behind_an_answered_request_is_ended_too(tmp_path: Path) -> None:
    """Its head came before the answer went, so the connection looks answered."""
    with web(tmp_path, WEB_THREADS="4") as address, connect(address) as connection:
        connection.sendall(READ + head_of("POST", "/api/v1/auth/token", "Content-Length: 1000") + b"{")
        assert answer_on(connection)[0] == 200
        assert answer_on(connection) == (408, "request_timeout")


def test_connections_in_use_outlast_the_end_of_a_slow_body(tmp_path: Path) -> None:
    """Those to the database and to Redis as well, or the calls on these would fail."""
    with web(tmp_path, WEB_THREADS="4") as address, connect(address) as used, connect(address) as slow:
        slow.sendall(head_of("POST", "/api/v1/auth/token", "Content-Length: 1000") + b"{")
        while not select.select([slow], [], [], 0.5)[0]:
            used.sendall(READ)
            assert answer_on(used)[0] == 200
        assert answer_on(slow) == (408, "request_timeout")
        used.sendall(READ)
        assert answer_on(used)[0] == 200
