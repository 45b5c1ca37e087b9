"""HAProxy before Galera's members: sessions go to the one that says it writes, and to one at a time."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.cluster import layout, packages, templates
from scripts.cluster.layout import Cluster
from scripts.stack import children, ports
from scripts.stack.mariadb import SEARCH_PATH

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy", path=SEARCH_PATH) is None,
    reason="HAProxy, which `make cluster` installs, is missing",
)
OK = b"\x07\0\0\x02\0\0\0\x02\0\0\0"
REFUSED = b"\xff\x17\x04#08S01WSREP has not yet prepared node for application use"
SECONDS = 20


@dataclass
class Member:
    """A server that speaks as much of MariaDB's protocol as a check hears, and greets with its number."""

    number: int
    port: int
    answer: bytes = b"waits"

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.sendall(_packet(0, b"\x0amember-%d\0" % self.number))
            self._read_until(connection, b"haproxy\0")
            connection.sendall(OK)
            self._read_until(connection, b"FROM cluster.writer")
            connection.sendall(_packet(1, self.answer))
            connection.recv(1000)

    def _read_until(self, connection: socket.socket, end: bytes) -> None:
        received = b""
        while end not in received:
            if not (more := connection.recv(1000)):
                raise ConnectionResetError
            received += more


def _packet(number: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "little") + bytes([number]) + content


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(home=tmp_path, first_port=ports.free(layout.PORTS), database="mariadb")


@contextmanager
def members(cluster: Cluster, *, writer: int | None = None) -> Iterator[dict[int, Member]]:
    """Three members behind HAProxy, of which one writes or none does."""
    cluster.settings.mkdir()
    path = cluster.settings / "haproxy-database.cfg"
    templates.write(path, "haproxy-galera.cfg", cluster)
    found = {number: Member(number, cluster.port("mariadb", number)) for number in layout.numbers("mariadb")}
    if writer:
        found[writer].answer = b"writes"
    listening = [socket.create_server((ports.HOST, member.port)) for member in found.values()]
    for member, one in zip(found.values(), listening, strict=True):
        threading.Thread(target=member.serve, args=(one,), daemon=True).start()
    command = [packages.program("haproxy"), "-db", "-f", str(path)]
    child = children.start(command, log=cluster.home / "haproxy.log", environment=dict(os.environ))
    try:
        _wait(lambda: (cluster.home / "haproxy.log").stat().st_size > 0)
        yield found
    finally:
        children.stop(child, within_seconds=10)
        for one in listening:
            one.close()


def _connected(cluster: Cluster) -> socket.socket:
    return socket.create_connection((ports.HOST, cluster.port("database")), timeout=5)


def _session(cluster: Cluster) -> str:
    """Which member greets a new session; empty when none does."""
    try:
        with _connected(cluster) as client:
            return client.recv(1000)[5:-1].decode()
    except OSError:
        return ""


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_a_writer_sessions_are_refused_and_then_lead_to_the_one_that_writes(cluster: Cluster):
    with members(cluster) as known:
        known[1].answer = REFUSED
        _wait(lambda: ports.answers((ports.HOST, cluster.port("database"))))
        # The member that HAProxy checks last counts as up until then, and may greet one session.
        _wait(lambda: not _session(cluster))
        assert {_session(cluster) for _ in range(20)} == {""}
        known[2].answer = b"writes"
        _wait(lambda: _session(cluster) == "member-2")
        assert {_session(cluster) for _ in range(20)} == {"member-2"}


def test_sessions_of_a_former_writer_end_and_new_ones_lead_to_the_next(cluster: Cluster):
    with members(cluster) as known:
        known[1].answer = b"writes"
        _wait(lambda: _session(cluster) == "member-1")
        with closing(_connected(cluster)) as former:
            assert b"member-1" in former.recv(1000)
            known[1].answer, known[3].answer = b"waits", b"writes"
            assert former.recv(1000) == b"", "HAProxy ended the session"
        _wait(lambda: _session(cluster) == "member-3")


def test_a_thawed_writer_that_says_it_still_writes_gets_no_session_beside_the_new_one(cluster: Cluster):
    with members(cluster) as known:
        known[2].answer = b"writes"
        _wait(lambda: _session(cluster) == "member-2")
        known[1].answer = b"writes"
        log = cluster.home / "haproxy.log"
        _wait(lambda: "mariadb-1 is UP" in log.read_text())
        assert {_session(cluster) for _ in range(20)} == {"member-2"}


def test_a_member_that_lost_the_others_is_not_the_writer_whatever_it_was_before(cluster: Cluster):
    with members(cluster) as known:
        known[1].answer = b"writes"
        _wait(lambda: _session(cluster) == "member-1")
        known[1].answer = REFUSED
        _wait(lambda: not _session(cluster))
        assert {_session(cluster) for _ in range(5)} == {""}


def test_no_session_leads_to_a_secondary_while_haproxy_has_not_checked_the_members_yet(cluster: Cluster):
    greeted: list[str] = []
    with members(cluster, writer=3):
        _wait(lambda: bool(greeted.append(_session(cluster)) or greeted[-1]))
        greeted += [_session(cluster) for _ in range(20)]
    assert set(greeted) <= {"", "member-3"}
