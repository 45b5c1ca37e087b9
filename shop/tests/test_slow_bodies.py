"""Which connections end when a body is late."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings

from shop import slow_bodies
from shop.slow_bodies import BODY_SECONDS, Caller
from shop.tests.live import web
from shop.tests.racing import wait_until
from shop.tests.test_whole_bodies import READ, head_of

HOST = "127.0.0.1"


@dataclass
class Connected:
    """Both ends of a connection that a client made."""

    client: socket.socket
    own: socket.socket
    caller: Caller

    def look(self, known: slow_bodies.Since | None = None) -> slow_bodies.Since:
        return slow_bodies._look(known or {}, {self.caller})

    def seem_busy(self) -> None:
        """As a client does that takes an answer just now."""
        self.client.sendall(b"x")
        assert self.own.recv(1) == b"x"
        time.sleep(0.01)  # the system counts milliseconds
        self.own.sendall(b"x")
        assert self.client.recv(1) == b"x"

    def is_ended(self) -> bool:
        try:
            return self.own.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connected]:
    for table in ("reading", "handling"):
        monkeypatch.setattr(slow_bodies, table, {})
    with (
        socket.create_server((HOST, 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as own,
    ):
        yield Connected(client, own, (HOST, str(server.getsockname()[1])))


def long_ago(seconds: float) -> float:
    return time.monotonic() - seconds


def test_a_thread_that_has_read_for_very_long_is_freed_whatever_its_connection_looks_like(
    connected: Connected,
) -> None:
    connected.seem_busy()
    slow_bodies.handling[2] = connected.caller, long_ago(60)
    slow_bodies.reading[1] = connected.caller, long_ago(2 * BODY_SECONDS - 1)
    connected.look()
    assert not connected.is_ended()
    slow_bodies.reading[1] = connected.caller, long_ago(2 * BODY_SECONDS)
    connected.look()
    assert connected.is_ended()


def test_the_connections_of_other_callers_outlast_that(connected: Connected) -> None:
    other = "192.0.2.1", connected.caller[1]
    slow_bodies.reading.update({1: (other, long_ago(60)), 2: (connected.caller, long_ago(2))})
    connected.seem_busy()
    slow_bodies._look({}, {other, connected.caller})
    assert not connected.is_ended()


def test_behind_a_proxy_connections_that_look_busy_stay(connected: Connected, settings: LazySettings) -> None:
    """Their address is the proxy's, so they may be anybody's."""
    settings.TRUSTED_PROXIES = 1
    connected.seem_busy()
    slow_bodies.reading[1] = connected.caller, long_ago(60)
    connected.look()
    assert not connected.is_ended()


def test_nothing_ends_while_all_threads_are_busy(connected: Connected, settings: LazySettings) -> None:
    """A request that waits for a free thread looks like a body that is waited for, also soon after."""
    settings.WEB_THREADS = 4
    connected.client.sendall(b"x")
    assert connected.own.recv(1) == b"x"
    slow_bodies.reading[1] = connected.caller, long_ago(1.5 * BODY_SECONDS)
    slow_bodies.handling.update({thread: (connected.caller, long_ago(0)) for thread in (2, 3, 4)})
    known = {name: long_ago(60) for name in connected_names(connected)}
    assert connected.look(known) == {}
    assert not connected.is_ended()
    slow_bodies.reading[1] = connected.caller, long_ago(60)
    connected.look(known)
    assert not connected.is_ended()

    slow_bodies.reading[1] = connected.caller, long_ago(1.5 * BODY_SECONDS)
    del slow_bodies.handling[4]
    connected.look()
    assert not connected.is_ended()
    connected.look(known)
    assert connected.is_ended()


def connected_names(connected: Connected) -> list[tuple[int, int, bool]]:
    """What the watch calls an unanswered connection."""
    names = []
    for inode, _, connection in slow_bodies._connections({connected.caller}):
        with connection:
            state = slow_bodies._state(connection)
        if state:
            names.append((inode, *state))
    return names


@pytest.mark.django_db(transaction=True)
def test_a_client_that_takes_earlier_answers_slowly_holds_no_thread_for_long(tmp_path: Path) -> None:
    """Its connection is never silent: it takes what was sent before, a little at a time."""
    with web(tmp_path, WEB_THREADS="4") as address, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        connection.connect((HOST, int(urlsplit(address).port or 0)))
        schema = READ.replace(b"/api/v1/products", b"/api/schema/")
        connection.sendall(schema * 2 + head_of("POST", "/api/v1/auth/token", "Content-Length: 1000") + b"{")
        began_at = time.monotonic()

        def is_ended() -> bool:
            time.sleep(0.1)
            connection.recv(512)
            return "a body took too long" in (tmp_path / "web.log").read_text()

        wait_until(is_ended, seconds=3 * BODY_SECONDS)
        assert time.monotonic() - began_at > BODY_SECONDS * 1.5
