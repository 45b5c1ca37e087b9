"""Responses in parts: no thread between two parts, an end when the client is gone, and no false end."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from backoffice import list_exports
from shop.burst.application import application
from shop.concurrency import event_loop
from shop.errors import Overloaded, Unavailable
from shop.http.pages import pages, streamed_responses
from shop.tests import asgi_client
from shop.tests.clients import signed_in
from shop.tests.factories import SuperuserFactory
from shop.tests.loop_guard import Blocked, blocked
from shop.tests.racing import wait_until

__all__ = ["blocked"]

pytestmark = pytest.mark.django_db(transaction=True)
EXPORT, BALANCE = "/admin/auth/user/export/", "/admin/ledger/sales/balance/"
Message = dict[str, Any]


@pytest.fixture(autouse=True)
def _many_small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_exports, "ROWS_AT_ONCE", 10)
    User.objects.bulk_create(User(username=f"u{number:03}") for number in range(95))


@pytest.fixture
def cookie() -> str:
    client = signed_in(SuperuserFactory.create())
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


async def exported(
    cookie: str, on_message: Callable[[Message], Awaitable[None]], *, is_gone: asyncio.Event | None = None
) -> list[Message]:
    """The messages of an export; the client disconnects once `is_gone` is set."""
    messages: list[Message] = []
    gone = is_gone or asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)
        await on_message(message)

    await application(asgi_client.request_scope("GET", EXPORT, headers={"Cookie": cookie}), receive, send)
    return messages


async def answered_by_http_1_0(cookie: str, address: str) -> list[Message]:
    """The messages for a client of HTTP/1.0 that has closed its side."""
    scope = asgi_client.request_scope("GET", address, headers={"Cookie": cookie}) | {"http_version": "1.0"}
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await application(scope, receive, send)
    return messages


async def nothing(_: Message) -> None:
    pass


def test_each_part_is_made_in_a_thread_and_none_is_held_while_it_is_sent(cookie, blocked: Blocked):
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
    assert b"content-length" not in dict(messages[0]["headers"])
    body = b"".join(message["body"] for message in messages[1:])
    assert body.count(b"\r\n") == User.objects.count() + 1
    assert len(busy) > 9 and set(busy) == {0}
    assert messages[-1] == {"type": "http.response.body", "body": b""}
    assert blocked == Blocked()
    assert_all_slots_are_free()


def test_a_response_whose_client_is_gone_is_not_made_to_its_end(cookie):
    async def disconnect_after_two_parts() -> list[Message]:
        gone, seen = asyncio.Event(), []

        async def on_message(message: Message) -> None:
            seen.append(message)
            if len(seen) == 3:
                gone.set()
                await asyncio.sleep(0)

        return await exported(cookie, on_message, is_gone=gone)

    messages = asyncio.run(disconnect_after_two_parts())
    assert 3 <= len(messages) <= 4
    assert_all_slots_are_free()


def test_a_client_that_leaves_while_no_thread_is_free_frees_its_place_all_the_same(cookie, monkeypatch):
    """The place was released by a thread, and lost for good when none was free for ten seconds."""
    monkeypatch.setattr(event_loop, "WAIT_SECONDS", 0.2)
    release = threading.Event()

    async def leave_while_all_threads_are_busy() -> int:
        gone, seen = asyncio.Event(), []

        async def on_message(message: Message) -> None:
            seen.append(message)
            if len(seen) == 3:
                for _ in range(event_loop.CALL_POOL._max_threads):
                    event_loop.CALL_POOL.start(lambda: release.wait(30) and None)
                gone.set()
                await asyncio.sleep(0)

        exporting = asyncio.ensure_future(exported(cookie, on_message, is_gone=gone))
        while not (gone.is_set() and not len(streamed_responses._open)):
            await asyncio.sleep(0.01)
        taken = len(streamed_responses._open)
        await asyncio.sleep(0.5)
        release.set()
        await asyncio.wait_for(exporting, 20)
        return taken

    try:
        taken = asyncio.run(asyncio.wait_for(leave_while_all_threads_are_busy(), 30))
    finally:
        release.set()
    assert not taken
    assert_all_slots_are_free()


def test_a_client_that_does_not_take_a_part_in_time_is_cut_off_and_frees_its_place(cookie, monkeypatch):
    monkeypatch.setattr(pages, "SECONDS_FOR_A_PART", 0.2)
    messages: list[Message] = []

    async def take_two_parts(message: Message) -> None:
        messages.append(message)
        if len(messages) == 4:
            await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="did not take a part in time"):
        asyncio.run(asyncio.wait_for(exported(cookie, take_two_parts), 30))
    assert messages[-1]["more_body"]
    assert_all_slots_are_free()


def test_a_part_that_fails_cuts_the_response_off_without_an_end(cookie, monkeypatch):
    """Otherwise a file that lacks rows would look complete."""
    read = list_exports.windows.fetch
    reads = []

    def fail_at_third(rows: Any) -> Any:
        reads.append(rows)
        if len(reads) == 3:
            raise Unavailable("The database can't be reached; try again.")
        return read(rows)

    monkeypatch.setattr(list_exports.windows, "fetch", fail_at_third)
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    with pytest.raises(RuntimeError, match="cut off"):
        asyncio.run(exported(cookie, keep))
    assert messages[-1]["more_body"]
    assert_all_slots_are_free()


def test_a_part_without_a_free_thread_is_tried_again(cookie, monkeypatch):
    run_in_thread, calls = event_loop.run_in_thread, []

    async def run_or_refuse(function: Any, *arguments: Any, **options: Any) -> Any:
        if function is next:
            calls.append(function)
            if len(calls) == 2:
                raise Overloaded("Too many requests are waiting; nothing was done.")
        return await run_in_thread(function, *arguments, **options)

    async def no_pause(seconds: float) -> None:
        assert seconds == 1

    monkeypatch.setattr(pages.event_loop, "run_in_thread", run_or_refuse)
    monkeypatch.setattr(pages.event_loop, "sleep", no_pause)
    messages = asyncio.run(exported(cookie, nothing))
    assert b"".join(message["body"] for message in messages[1:]).count(b"\r\n") == User.objects.count() + 1


@pytest.mark.parametrize("path", [EXPORT, BALANCE])
def test_clients_of_http_1_0_get_the_whole_response_with_its_length(cookie, path):
    messages = asyncio.run(answered_by_http_1_0(cookie, path))
    body = b"".join(message["body"] for message in messages[1:])
    assert messages[0]["status"] == 200
    assert int(dict(messages[0]["headers"])[b"content-length"]) == len(body) > 0
    assert_all_slots_are_free()


def assert_all_slots_are_free() -> None:
    wait_until(lambda: not len(streamed_responses._open), seconds=5)
