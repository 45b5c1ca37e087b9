"""Exports and reports: whole before they are sent, no thread while they are, and a place for each."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from backoffice import list_exports
from shop.burst.application import application
from shop.concurrency import event_loop
from shop.errors import Unavailable
from shop.http.pages import large_responses, pages
from shop.tests import asgi_client
from shop.tests.clients import signed_in
from shop.tests.factories import SuperuserFactory
from shop.tests.loop_guard import Blocked
from shop.tests.racing import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
EXPORT, BALANCE = "/admin/auth/user/export/", "/admin/ledger/sales/balance/"
Message = dict[str, Any]


@pytest.fixture(autouse=True)
def _many_small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_exports, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(pages, "CHUNK_BYTES", 500)
    User.objects.bulk_create(User(username=f"u{number:03}") for number in range(95))


@pytest.fixture
def cookie() -> str:
    client = signed_in(SuperuserFactory.create())
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


async def exported(
    cookie: str, on_message: Callable[[Message], Awaitable[None]], path: str = EXPORT
) -> list[Message]:
    """The messages of an export to a client that has closed its side."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)
        await on_message(message)

    await application(asgi_client.request_scope("GET", path, headers={"Cookie": cookie}), receive, send)
    return messages


async def nothing(_: Message) -> None:
    pass


def test_no_thread_is_held_while_a_part_is_sent(cookie, blocked: Blocked):
    busy = []

    async def wait_for_idle_threads(message: Message) -> None:
        if message.get("more_body"):
            for _ in range(500):
                if not event_loop.CALL_POOL.busy():
                    break
                await asyncio.sleep(0.01)
            busy.append(event_loop.CALL_POOL.busy())

    messages = asyncio.run(exported(cookie, wait_for_idle_threads))
    assert messages[0]["status"] == 200
    body = b"".join(message["body"] for message in messages[1:])
    assert body.count(b"\r\n") == User.objects.count() + 1
    assert len(busy) > 9 and set(busy) == {0}
    assert messages[-1] == {"type": "http.response.body", "body": b""}
    assert blocked == Blocked()
    assert_all_slots_are_free()


def test_a_client_that_does_not_take_a_part_in_time_is_cut_off_and_frees_its_place(cookie, monkeypatch):
    monkeypatch.setattr(pages, "SECONDS_FOR_A_PART", 0.2)
    messages: list[Message] = []

    async def take_two_parts(message: Message) -> None:
        messages.append(message)
        if len(messages) == 4:
            await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(exported(cookie, take_two_parts), 30))
    assert messages[-1]["more_body"]
    assert_all_slots_are_free()


def test_an_export_of_which_a_part_fails_is_refused_and_none_of_it_is_sent(cookie, monkeypatch):
    """A file that lacks rows would look complete."""
    read = list_exports.windows.fetch
    reads = []

    def fail_at_third(rows: Any) -> Any:
        reads.append(rows)
        if len(reads) == 3:
            raise Unavailable("The database can't be reached; try again.")
        return read(rows)

    monkeypatch.setattr(list_exports.windows, "fetch", fail_at_third)
    messages = asyncio.run(exported(cookie, nothing))
    assert messages[0]["status"] == 503
    assert b"u001" not in b"".join(message["body"] for message in messages[1:])
    assert_all_slots_are_free()


def test_an_export_that_grows_too_large_is_refused_and_none_of_it_is_sent(cookie, monkeypatch):
    monkeypatch.setattr(large_responses, "MAX_BYTES", 1_000)
    messages = asyncio.run(exported(cookie, nothing))
    assert messages[0]["status"] == 409
    assert b"export_too_large" in b"".join(message["body"] for message in messages[1:])
    assert_all_slots_are_free()


@pytest.mark.parametrize("path", [EXPORT, BALANCE])
def test_a_response_has_its_length(cookie, path):
    messages = asyncio.run(exported(cookie, nothing, path))
    body = b"".join(message["body"] for message in messages[1:])
    assert messages[0]["status"] == 200
    assert int(dict(messages[0]["headers"])[b"content-length"]) == len(body) > 0
    assert_all_slots_are_free()


def assert_all_slots_are_free() -> None:
    wait_until(lambda: all(file.closed for file in large_responses._open), seconds=5)
