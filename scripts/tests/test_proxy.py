"""The states of a proxy's links, each with a real server behind it."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from scripts.chaos.campaigns.network.proxy import State
from scripts.stack import children, ports

pytestmark = pytest.mark.boots("the proxy of a link")

PATIENCE_SECONDS = 5.0


class Server:
    """A server that repeats what it reads, one connection at a time, and remembers each chunk."""

    def __init__(self) -> None:
        self.listener = socket.create_server((ports.HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.chunks: list[bytes] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._repeat, args=(connection,), daemon=True).start()

    def _repeat(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            while chunk := connection.recv(4096):
                self.chunks.append(chunk)
                connection.sendall(chunk)


class Link:
    """A proxy process with one link to a server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.port = ports.free()
        self.control = folder / "control.sock"
        words = ["--control", str(self.control), f"link={self.port}:{ports.HOST}:{server.port}"]
        self.child = children.start(
            [sys.executable, "-m", "scripts.chaos.campaigns.network.proxy", *words],
            log=folder / "log",
            environment=os.environ,
        )
        children.wait_until(
            lambda: ports.answers(str(self.control)),
            name="proxy",
            child=self.child,
            log=folder / "log",
            within_seconds=20,
        )

    def be(self, state: State) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE_SECONDS)
            control.connect(str(self.control))
            control.sendall(f"link {state}\n".encode())
            assert control.recv(16) == b"ok\n"

    def connect(self) -> socket.socket:
        client = socket.create_connection((ports.HOST, self.port), timeout=PATIENCE_SECONDS)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    server = Server()
    made = Link(server, tmp_path_factory.mktemp("proxy"))
    yield made
    children.stop(made.child)
    server.listener.close()


@pytest.fixture
def link(running: Link) -> Link:
    """The link, which passes everything on and has passed on nothing yet."""
    running.be(State.PASS)
    running.server.chunks = []
    return running


def ask(client: socket.socket, text: bytes) -> bytes:
    """The whole reply, which is as long as the text."""
    client.sendall(text)
    found = b""
    while len(found) < len(text):
        chunk = client.recv(4096)
        assert chunk, "the connection ended"
        found += chunk
    return found


def test_a_cut_link_resets_its_connections_and_refuses_new_ones_until_it_is_mended(link: Link) -> None:
    with link.connect() as client:
        assert ask(client, b"before") == b"before"
        link.be(State.CUT)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        link.connect()
    link.be(State.PASS)
    with link.connect() as client:
        assert ask(client, b"after") == b"after"


def packet(text: bytes) -> bytes:
    """A query of MySQL's protocol."""
    return (len(text) + 1).to_bytes(3, "little") + b"\0\x03" + text


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        (b"COMMIT", b"ROLLBACK"),
        (b"INSERT INTO a VALUES (1);COMMIT", b"INSERT INTO a VALUES (1);ROLLBACK"),
        (b"SELECT 'COMMIT' FROM a", b"SELECT 'COMMIT' FROM a"),
    ],
)
def test_a_lost_commit_arrives_as_a_rollback(link: Link, sent: bytes, arrived: bytes) -> None:
    link.be(State.LOSE_COMMITS)
    with link.connect() as client:
        client.sendall(packet(sent))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not link.server.content and time.monotonic() < deadline:
            time.sleep(0.01)
    assert link.server.content == packet(arrived)
