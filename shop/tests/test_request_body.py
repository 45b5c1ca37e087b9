"""Request bodies before dispatch: their size, their sender, and how long the server waits for them."""

import asyncio
import itertools
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import orjson
import pytest
import urllib3
from django.contrib.auth.models import User
from uuid_utils.compat import uuid7

from shop.http import request_body
from shop.http.pages.middleware import MAX_CONCURRENT_UPLOADS
from shop.tests.asgi_client import Answer, send_request
from shop.tests.clients import signed_in
from shop.tests.factories import SuperuserFactory
from shop.tests.live import web
from shop.tests.racing import wait_until
from shop.tests.test_protocol import connect

IMPORT = "/admin/inventory/product/import/"
BOUNDARY = "b0undary"
CSRF = "c" * 32

pytestmark = pytest.mark.django_db(transaction=True)


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
    cookies: str = "",
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


def answer_on(connection: socket.socket) -> tuple[int, str]:
    answer = HTTPResponse(connection)
    answer.begin()
    body = answer.read()
    is_problem = answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, orjson.loads(body)["code"] if is_problem else ""


def session_of(user: User) -> str:
    return f"sessionid={signed_in(user).cookies['sessionid'].value}"


def upload(address: str, body: bytes, *, cookies: str) -> urllib3.BaseHTTPResponse:
    headers = {
        "Cookie": f"csrftoken={CSRF}; {cookies}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    return urllib3.request("POST", address + IMPORT, body=body, headers=headers, retries=False)


@pytest.mark.boots("a web server")
def test_only_staff_may_upload_more_and_other_uploads_are_not_written_to_disk(tmp_path: Path) -> None:
    (own_folder := tmp_path / "temporary").mkdir()
    staff, buyer = SuperuserFactory.create(), User.objects.create_user("buyer")
    with web(tmp_path, TMPDIR=str(own_folder)) as address:
        for cookies in ("", session_of(buyer), "sessionid=forged"):
            with connect(address) as connection:
                connection.sendall(head_of("POST", IMPORT, f"Content-Length: {2**20}", cookies=cookies))
                assert answer_on(connection) == (413, "too_large"), cookies
        assert list(own_folder.iterdir()) == []

        accepted = upload(address, multipart(3 * 2**20), cookies=session_of(staff))
        assert (accepted.status, b"CUP" in accepted.data) == (200, True)
        # Only the CSV file, until the upload is confirmed.
        assert [path.stat().st_size < 100 for path in own_folder.iterdir()] == [True]
        too_large = upload(address, multipart(32 * 2**20), cookies=session_of(staff))
        assert (too_large.status, too_large.json()["detail"]) == (413, "The upload is larger than 32 MiB.")


@pytest.mark.boots("a web server")
def test_a_process_holds_two_uploads_at_once_and_refuses_the_next_before_it_is_read(tmp_path: Path) -> None:
    cookies, body = session_of(SuperuserFactory.create()), multipart(2**20)
    head = head_of("POST", IMPORT, f"Content-Length: {len(body)}", cookies=cookies)
    with web(tmp_path, workers=1) as address, ExitStack() as closing:
        connections = [closing.enter_context(connect(address)) for _ in range(8)]
        for connection in connections:
            connection.sendall(head)

        def answered() -> list[socket.socket]:
            return select.select(connections, [], [], 0)[0]

        wait_until(lambda: len(answered()) == 8 - MAX_CONCURRENT_UPLOADS, seconds=8)
        refused = answered()
        assert {answer_on(connection) for connection in refused} == {(503, "overloaded")}
        accepted = [connection for connection in connections if connection not in refused]
        for connection in accepted:
            connection.sendall(body)
        assert [answer_on(connection)[0] for connection in accepted] == [200, 200]
        # Their slots are free again.
        assert upload(address, body, cookies=cookies).status == 200


def slow_call(address: str, *lines: str) -> socket.socket:
    connection = connect(address)
    beginning = b"5\r\n{" if any("chunked" in line for line in lines) else b"{"
    connection.sendall(head_of("POST", "/api/v1/auth/token", *lines) + beginning)
    return connection


@pytest.mark.boots("a web server")
def test_140_slow_senders_hold_no_thread_and_are_ended_after_10_seconds(tmp_path: Path) -> None:
    with web(tmp_path, workers=1, WEB_THREADS="4") as address, ExitStack() as closing:
        began_at = time.monotonic()
        lengths = itertools.cycle(["Content-Length: 1000", "Transfer-Encoding: chunked"])
        slow = [closing.enter_context(slow_call(address, next(lengths))) for _ in range(140)]
        answers = list(calls_meanwhile(address, until=began_at + 6))
        assert len(answers) > 10
        assert max(seconds for _, seconds in answers) < 2
        assert {status for status, _ in answers} <= {200, 401, 429}
        assert select.select(slow, [], [], 0)[0] == [], "they still have time"

        assert {answer_on(connection) for connection in slow} == {(408, "request_timeout")}
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


def test_the_total_size_of_unfinished_bodies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is bounded, because each body may have 64 KiB; refused and broken bodies no longer count."""
    monkeypatch.setattr(request_body, "MAX_UNFINISHED_BYTES", 100_000)
    part = b" " * 30_000

    async def send_three() -> list[Answer]:
        slow = [
            asyncio.create_task(send_request("POST", "/api/v1/orders", parts=[part], is_stalled=True))
            for _ in range(3)
        ]
        await asyncio.sleep(0.1)
        one_more = await send_request("POST", "/api/v1/orders", parts=[part, part])
        small = await send_request("POST", "/api/v1/orders", parts=[b"{", b"}"])
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        return [one_more, small, await send_request("POST", "/api/v1/orders", parts=[part, part])]

    one_more, small, later = asyncio.run(send_three())
    assert (one_more.status, orjson.loads(one_more.body)["code"]) == (503, "overloaded")
    assert (small.status, later.status) == (401, 401)
    assert request_body._unfinished_bytes == 0


READ = b"GET /api/v1/products HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.boots("a web server")
def test_a_slow_body_behind_an_answered_request_is_ended_too(tmp_path: Path) -> None:
    """Its head arrived before the response was sent, so the connection looks answered."""
    with web(tmp_path, workers=1, WEB_THREADS="4") as address, connect(address) as connection:
        connection.sendall(READ + head_of("POST", "/api/v1/auth/token", "Content-Length: 1000") + b"{")
        assert answer_on(connection)[0] == 200
        assert answer_on(connection) == (408, "request_timeout")


@pytest.mark.boots("a web server")
def test_connections_in_use_outlast_the_end_of_a_slow_body(tmp_path: Path) -> None:
    """Also those to the database and to Redis, or calls would fail."""
    with web(tmp_path, WEB_THREADS="4") as address, connect(address) as used, connect(address) as slow:
        slow.sendall(head_of("POST", "/api/v1/auth/token", "Content-Length: 1000") + b"{")
        while not select.select([slow], [], [], 0.5)[0]:
            used.sendall(READ)
            assert answer_on(used)[0] == 200
        assert answer_on(slow) == (408, "request_timeout")
        used.sendall(READ)
        assert answer_on(used)[0] == 200
