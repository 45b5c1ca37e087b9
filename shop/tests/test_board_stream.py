"""The launch board's streams: which accounts get one, what it sends, and when it ends."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from django.contrib.auth.models import Permission, User
from django.test import Client

from coupons.tests.factories import CampaignFactory
from shop import clock
from shop.backoffice.board import stream
from shop.backoffice.board.publisher import Publisher
from shop.concurrency import event_loop
from shop.tests.board_viewer import PATH, PERMISSIONS, Viewer, serve_streams, session_of
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.live import serving
from shop.tests.loop_guard import Blocked, blocked
from shop.tests.outages import OwnRedis, database_away, own_redis
from shop.tests.racing import wait_until
from shop.tests.statements import captured_statements

__all__ = ["blocked", "own_redis"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _streams() -> Iterator[None]:
    serve_streams()
    stream.forget()
    yield
    stream.forget()


@pytest.fixture
def account() -> User:
    made: User = AccountFactory.create(is_staff=True, permissions=PERMISSIONS)
    return made


def on_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await event_loop.run_in_thread(function, *arguments)


@asynccontextmanager
async def away() -> AsyncIterator[None]:
    """The database refuses connections; entered in a thread, because it closes that thread's connection."""
    outage = database_away()
    await in_thread(outage.__enter__)
    try:
        yield
    finally:
        await in_thread(outage.__exit__, None, None, None)


def test_a_viewer_gets_the_history_and_then_a_snapshot_every_second(account: User, blocked: Blocked) -> None:
    CampaignFactory.create(name="Spring", quantity=50)
    key = session_of(account)

    async def watch() -> None:
        viewer = Viewer(key)
        assert await viewer.answered() == 200
        seed, *snapshots = [await viewer.next() for _ in range(4)]
        assert (seed.name, seed.data["seconds"][-1:]) == ("seed", [snapshots[0].data["second"]])
        assert {snapshot.name for snapshot in snapshots} == {"snapshot"}
        seconds = [snapshot.data["second"] for snapshot in snapshots]
        assert seconds == sorted(set(seconds))
        async with asyncio.timeout(10):
            while not (shown := (await viewer.next()).data["campaigns"]):
                pass
        assert [one["name"] for one in shown] == ["Spring"]
        assert viewer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert viewer.headers["x-accel-buffering"] == "no"
        assert viewer.headers["cache-control"] == "no-store, no-transform"
        await viewer.leave()
        assert not stream._viewers

    on_loop(watch)
    assert blocked == []


def test_accounts_that_may_not_watch_get_no_stream(account: User) -> None:
    customer = session_of(AccountFactory.create())
    support = session_of(AccountFactory.create(is_staff=True, permissions=PERMISSIONS[:2]))
    permitted = session_of(account)

    async def watch() -> None:
        for key, status, code in (
            ("", 401, b"not_authenticated"),
            (customer, 401, b"not_authenticated"),
            (support, 403, b"orders.view_order"),
        ):
            viewer = Viewer(key)
            assert await viewer.answered() == status
            await viewer.ended()
            assert code in viewer.body
        viewer = Viewer(permitted, method="POST")
        assert await viewer.answered() == 403  # without a token against forged requests
        viewer = Viewer(permitted, method="HEAD")
        assert await viewer.answered() == 405

    on_loop(watch)
    assert Client().get(PATH).status_code == 401


def sign_out(account: User, key: str) -> None:
    client = Client()
    client.cookies["sessionid"] = key
    client.post("/admin/logout/")


def disable(account: User, key: str) -> None:
    User.objects.filter(pk=account.pk).update(is_active=False)


def take_staff(account: User, key: str) -> None:
    User.objects.filter(pk=account.pk).update(is_staff=False)


def take_permission(account: User, key: str) -> None:
    account.user_permissions.remove(Permission.objects.get(codename="view_order"))


def change_password(account: User, key: str) -> None:
    account.set_password("another-harbour-8")
    account.save()


@pytest.mark.parametrize(
    "lose", [sign_out, disable, take_staff, take_permission, change_password], ids=lambda lose: lose.__name__
)
def test_a_stream_ends_when_its_viewer_may_no_longer_watch(
    account: User, monkeypatch: pytest.MonkeyPatch, lose: Callable[[User, str], None]
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.0)
    key, other = session_of(account), session_of(SuperuserFactory.create())

    async def watch() -> None:
        viewer, allowed = Viewer(key), Viewer(other)
        for _ in range(3):
            await viewer.next("snapshot")
        await in_thread(lose, account, key)
        assert (await viewer.next("ended")).data == {"reason": "signed_out"}
        await viewer.ended()
        await allowed.next("snapshot")
        await allowed.next("snapshot")
        await allowed.leave()

    on_loop(watch)


def test_a_stream_whose_viewer_could_not_be_checked_for_long_ends(
    account: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(stream, "UNCHECKED_SECONDS", 3.0)
    key = session_of(account)

    async def watch() -> None:
        viewer = Viewer(key)
        await viewer.next("snapshot")
        async with away():
            assert (await viewer.next("ended", seconds=30)).data == {"reason": "unchecked"}
        await viewer.ended()

    on_loop(watch)


def test_viewers_past_the_limits_are_refused_with_a_time_to_retry(
    account: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_VIEWERS", 3)
    monkeypatch.setattr(stream, "MOST_OF_ACCOUNT", 2)
    key, others = session_of(account), [session_of(SuperuserFactory.create()) for _ in range(2)]

    async def watch() -> None:
        viewers = [Viewer(key), Viewer(key)]
        assert [await viewer.answered() for viewer in viewers] == [200, 200]
        third = Viewer(key)
        assert (await third.answered(), third.headers["retry-after"]) == (503, "30")
        viewers.append(Viewer(others[0]))
        assert await viewers[-1].answered() == 200
        assert await Viewer(others[1]).answered() == 503
        await viewers.pop(0).leave()
        viewers.append(Viewer(others[1]))
        assert await viewers[-1].answered() == 200
        for viewer in viewers:
            await viewer.leave()

    on_loop(watch)


def test_a_snapshot_is_made_once_for_all_viewers_and_none_without_them(account: User) -> None:
    keys = [session_of(SuperuserFactory.create()) for _ in range(10)]

    async def statements_of(number: int) -> int:
        viewers = [Viewer(key) for key in keys[:number]]
        for viewer in viewers:
            await viewer.next("snapshot")
        with captured_statements() as statements:
            data = [[(await viewer.next("snapshot")).data for _ in range(3)] for viewer in viewers]
        for viewer in viewers:
            await viewer.leave()
        assert all(one == data[0] for one in data)
        return len(statements)

    async def watch() -> None:
        alone, together = await statements_of(1), await statements_of(10)
        assert together <= alone + 25  # one more pass of the readings at most, whenever the reading began
        await asyncio.wait_for(asyncio.shield(stream._publishing), 3)
        with captured_statements() as statements:
            await asyncio.sleep(1.5)
        assert statements == []

    on_loop(watch)


def test_the_board_goes_on_when_the_clock_is_set_back_during_a_snapshot() -> None:
    """It waited until the clock had come to the second of that snapshot again."""

    async def publish() -> None:
        source = Publisher()
        with clock.shifted(by=timedelta(hours=1)):
            await source.next_event()
        async with asyncio.timeout(3):
            await source.wait_for_next()

    on_loop(publish)


def test_a_slow_viewer_misses_snapshots_and_delays_no_other(account: User) -> None:
    keys = session_of(account), session_of(account)

    async def watch() -> None:
        slow, quick = Viewer(keys[0]), Viewer(keys[1])
        await slow.next("snapshot")
        slow.is_paused = asyncio.Event()
        seen = [(await quick.next("snapshot")).data["second"] for _ in range(5)]
        slow.is_paused.set()
        behind = [(await slow.next("snapshot")).data["second"] for _ in range(2)]
        assert behind[1] - behind[0] > 1
        assert behind[1] >= seen[-1]
        await slow.leave()
        await quick.leave()

    on_loop(watch)


def test_a_slow_viewer_whose_stream_ends_gets_its_last_event_and_a_whole_response(account: User) -> None:
    """It ended while a snapshot was being sent, without either, and the server logged an error."""
    key = session_of(account)

    async def watch() -> None:
        slow, quick = Viewer(key), Viewer(key)
        await slow.next("snapshot")
        slow.is_paused = asyncio.Event()
        for _ in range(3):
            await quick.next("snapshot")
        stream.stop()
        slow.is_paused.set()
        assert (await slow.next("ended", seconds=0.5)).data == {"reason": "stopping"}
        for viewer in (slow, quick):
            await viewer.ended(seconds=0.5)
            assert viewer.is_complete
        assert await Viewer(key).answered() == 503

    on_loop(watch)


def test_without_redis_the_board_shows_what_the_database_has(account: User, own_redis: OwnRedis) -> None:
    CampaignFactory.create(name="Spring")
    key = session_of(account)

    async def watch() -> None:
        viewer = Viewer(key)
        async with asyncio.timeout(20):
            while not (await viewer.next("snapshot")).data["sources"]["counts"]:
                pass
            own_redis.kill()
            while (data := (await viewer.next("snapshot")).data)["sources"]["counts"]:
                pass
        assert [one["name"] for one in data["campaigns"]] == ["Spring"]
        await viewer.leave()

    on_loop(watch)


def test_without_the_database_the_board_says_how_old_its_figures_are(account: User) -> None:
    CampaignFactory.create(name="Spring")
    key = session_of(account)

    async def watch() -> None:
        viewer = Viewer(key)
        await viewer.next("snapshot")
        async with away(), asyncio.timeout(20):
            while (data := (await viewer.next("snapshot")).data)["sources"]["ages"]["sale"] < 3:
                pass
        assert [one["name"] for one in data["campaigns"]] == ["Spring"]
        await viewer.leave()

    on_loop(watch)


@pytest.mark.boots("a web server")
def test_a_real_web_process_streams_and_ends_its_streams_when_it_stops(account: User, tmp_path: Path) -> None:
    CampaignFactory.create(name="Spring")
    cookie = {"Cookie": f"sessionid={session_of(account)}"}
    with (
        serving(tmp_path, workers=1) as server,
        urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=15), retries=False) as http,
    ):
        response = http.request("GET", server.address + PATH, headers=cookie, preload_content=False)
        assert (response.status, response.headers["Transfer-Encoding"]) == (200, "chunked")
        parts, received = response.stream(1024), b""
        while received.count(b"event: snapshot") < 2:
            received += next(parts)
        assert received.startswith(b"retry: ")
        assert b'"name":"Spring"' in received
        began_at = time.monotonic()
        server.child.send_signal(signal.SIGTERM)
        rest = b"".join(parts)
        assert b'event: ended\ndata: {"reason":"stopping"}' in rest
        assert time.monotonic() - began_at < 3
        wait_until(lambda: server.child.poll() is not None, seconds=10)
        assert server.child.returncode == 0
