"""Files that are sent: exports and reports, whole and with a place for each, and those under `/static`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.http import FileResponse, StreamingHttpResponse
from django.test import Client

from accounts.tests.clients import signed_in
from backoffice import list_exports
from foundation.concurrency import event_loop
from foundation.errors import Unavailable
from foundation.http.pages import large_responses, rendering
from foundation.tests import asgi_client
from foundation.tests.factories import SuperuserFactory
from foundation.tests.live import web
from foundation.tests.loop_guard import Blocked
from foundation.tests.racing import wait_until
from shop.burst.application import application
from shop.tests.test_web_server import answer_on, connect

EXPORT, BALANCE = "/admin/auth/user/export/", "/admin/ledger/sales/balance/"
Message = dict[str, Any]


@pytest.fixture
def cookie(transactional_db, monkeypatch):
    """Of an operator's session, after which all places for large responses are free again.

    Its exports have many small windows.
    """
    monkeypatch.setattr(list_exports, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(rendering, "CHUNK_BYTES", 500)
    User.objects.bulk_create(User(username=f"u{number:03}") for number in range(95))
    client = signed_in(SuperuserFactory())
    yield f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    wait_until(lambda: all(file.closed for file in large_responses._open), seconds=5)


async def exported(
    cookie: str, on_message: Callable[[Message], Awaitable[None]], path: str = EXPORT
) -> list[Message]:
    """The messages of an export to a client that has closed its side."""
    messages: list[Message] = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)
        await on_message(message)

    await application(asgi_client.request_scope("GET", path, headers={"Cookie": cookie}), receive, send)
    return messages


async def nothing(_: Message):
    pass


def body_of(messages: Sequence[Message]) -> bytes:
    return b"".join(message["body"] for message in messages)


def test_no_thread_is_held_while_a_part_is_sent(cookie, blocked):
    busy = []

    async def wait_for_idle_threads(message):
        if message.get("more_body"):
            for _ in range(500):
                if not event_loop.CALL_POOL.busy():
                    break
                await asyncio.sleep(0.01)
            busy.append(event_loop.CALL_POOL.busy())

    messages = asyncio.run(exported(cookie, wait_for_idle_threads))
    assert messages[0]["status"] == 200
    assert body_of(messages[1:]).count(b"\r\n") == User.objects.count() + 1
    assert len(busy) > 9 and set(busy) == {0}
    assert messages[-1] == {"type": "http.response.body", "body": b""}
    assert blocked == Blocked()


def test_a_client_that_does_not_take_a_part_in_time_is_cut_off_and_frees_its_place(cookie, monkeypatch):
    monkeypatch.setattr(rendering, "SECONDS_FOR_A_PART", 0.2)
    messages = []

    async def take_two_parts(message):
        messages.append(message)
        if len(messages) == 4:
            await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(exported(cookie, take_two_parts), 30))
    assert messages[-1]["more_body"]


def test_an_export_of_which_a_part_fails_or_that_grows_too_large_is_refused_whole(cookie, monkeypatch):
    """A file that lacks rows would look complete."""
    read, reads = list_exports.windows.fetch, []

    def fail_at_third(rows):
        reads.append(rows)
        if len(reads) == 3:
            raise Unavailable("The database can't be reached; try again.")
        return read(rows)

    with monkeypatch.context() as failing:
        failing.setattr(list_exports.windows, "fetch", fail_at_third)
        start, *rest = asyncio.run(exported(cookie, nothing))
    assert start["status"] == 503
    assert b"u001" not in body_of(rest)
    monkeypatch.setattr(large_responses, "MAX_BYTES", 1_000)
    start, *rest = asyncio.run(exported(cookie, nothing))
    assert start["status"] == 409
    assert b"export_too_large" in body_of(rest)


@pytest.mark.parametrize("path", [EXPORT, BALANCE])
def test_a_response_has_its_length(cookie, path):
    start, *rest = asyncio.run(exported(cookie, nothing, path))
    assert start["status"] == 200
    assert int(dict(start["headers"])[b"content-length"]) == len(body_of(rest)) > 0


@pytest.fixture
def collected(tmp_path, settings):
    settings.STATIC_ROOT = str(tmp_path / "static")
    folder = tmp_path / "static" / "admin"
    folder.mkdir(parents=True)
    (folder / "base.css").write_text("body {}")
    return folder


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_file_is_served_for_a_day_with_its_type_and_to_no_other_origin(collected, method):
    response = getattr(Client(), method)("/static/admin/base.css")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == 'text/css; charset="utf-8"'
    assert response.headers["Cache-Control"] == "max-age=86400, public"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert response.getvalue() == (b"body {}" if method == "get" else b"")


def test_a_large_file_is_sent_from_disk_and_a_small_one_from_memory(db, tmp_path):
    """A slow reader would keep a copy of a large file in memory."""
    path = tmp_path / "large.js"
    path.write_bytes(b"x" * (rendering.CHUNK_BYTES + 1))
    with closing(FileResponse(path.open("rb"))) as large:
        body, _ = rendering._response_body(large)
    assert not isinstance(body, bytes)
    with body:
        assert body.fileno() and body.read() == path.read_bytes()
    path.write_bytes(b"small")
    with closing(FileResponse(path.open("rb"))) as small:
        assert rendering._response_body(small) == (b"small", 5)
    with closing(StreamingHttpResponse([b"x", b"y"])) as response:
        assert rendering._response_body(response) == (b"xy", 2)


@pytest.mark.boots("a web server")
def test_large_files_their_parts_and_empty_responses_have_a_length(transactional_db, collected, tmp_path):
    content = bytes(range(256)) * 8_000
    (collected / "large.bin").write_bytes(content)
    requests = [
        (b"GET", b"", 200, content),
        (b"GET", b"Range: bytes=100-999999\r\n", 206, content[100:1_000_000]),
        (b"GET", b"Range: bytes=9-5\r\n", 416, b""),
        (b"POST", b"Content-Length: 0\r\n", 405, b""),
    ]
    with web(tmp_path, workers=1, STATIC_ROOT=str(collected.parent)) as address:
        for version in (b"1.0", b"1.1"):
            for method, header, status, body in requests:
                with connect(address) as connection:
                    line = b"%s /static/admin/large.bin HTTP/%s\r\n" % (method, version)
                    connection.sendall(line + b"Host: 127.0.0.1\r\n" + header + b"\r\n")
                    answer = answer_on(connection)
                    assert (answer.status, answer.body) == (status, body)
                    assert "Transfer-Encoding" not in answer.headers
