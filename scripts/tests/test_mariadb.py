"""The private MariaDB: durable, with memory for its indexes, and nothing of it beyond its own folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import MySQLdb
import pytest

from scripts.stack import children, mariadb, places, ports
from scripts.stack.mariadb import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(
        home=tmp_path / "mariadb",
        socket=places.socket_path(tmp_path, "mariadb.sock"),
        password="of this test",
        max_connections=20,
    )
    one.prepare()
    log = tmp_path / "log"
    child = children.start(one.command(), log=log, environment=os.environ)
    try:
        is_there = lambda: ports.answers(str(one.socket))  # noqa: E731
        children.wait_until(is_there, name="mariadb", child=child, log=log, within_seconds=60)
        yield one
    finally:
        children.stop(child)


def test_it_keeps_what_it_commits_and_keeps_to_itself(server: Server) -> None:
    connection = MySQLdb.connect(unix_socket=str(server.socket), user=mariadb.USER, password=server.password)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite, @@skip_networking, @@tmpdir,"
            " @@innodb_buffer_pool_size DIV (1024 * 1024)"
        )
        values = cursor.fetchone()
    connection.close()
    assert values == (1, 1, 1, str(server.temporary), mariadb.buffer_pool_mib())
    assert server.temporary.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("gib", "mib"), [(0.5, 256), (8, 2048), (24, 4096)])
def test_its_pool_is_a_quarter_of_the_memory_within_bounds(
    monkeypatch: pytest.MonkeyPatch, gib: float, mib: int
) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": int(gib * 2**18)}.__getitem__)
    assert mariadb.buffer_pool_mib() == mib
