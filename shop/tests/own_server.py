"""A database server of a test's own, of the kind that the tests run on, and that kind's client programs."""

import os
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import MySQLdb

from scripts.stack import children, places, ports, throwaway
from scripts.stack.mariadb import DATABASE, USER, Server

CONNECTIONS = 20
CLIENTS = ("mariadb", "mariadb-dump", "mariadb-binlog", "mysql", "mysqldump", "mysqlbinlog")
"""What `shop.operations.backups.programs` looks for."""


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server in this folder that keeps a binary log and has an empty database."""
    make, root = throwaway.DATABASES[_kind()]
    server = make(
        home=folder / "server",
        socket=places.socket_path(folder, "server.sock"),
        password="of-this-test",
        max_connections=CONNECTIONS,
        root=root,
        has_binary_log=True,
    )
    server.prepare()
    log = folder / "server.log"
    child = children.start(server.command(), log=log, environment=os.environ)
    try:
        is_there = lambda: ports.answers(str(server.socket))  # noqa: E731
        children.wait_until(is_there, name="server", child=child, log=log, within_seconds=60)
        yield server
    finally:
        children.stop(child)


def empty(server: Server) -> None:
    """Bring a running server back to its start: no other database, no older log, no variable of a test's."""
    with (
        closing(
            MySQLdb.connect(
                unix_socket=str(server.socket), user=USER, password=server.password, autocommit=True
            )
        ) as opened,
        opened.cursor() as cursor,
    ):
        cursor.execute("SHOW DATABASES LIKE 'firstcome%'")
        statements = [f"DROP DATABASE {name}" for [name] in cursor.fetchall()]
        statements += [
            f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4",
            "SET GLOBAL local_infile = DEFAULT",
            "SET GLOBAL wait_timeout = DEFAULT",
            "RESET BINARY LOGS AND GTIDS" if is_mysql() else "RESET MASTER",
        ]
        for statement in statements:
            cursor.execute(statement)


def path_with_clients(folder: Path) -> str:
    """A PATH with the client programs of this kind; they are made in the folder if a Debian root has them."""
    root = throwaway.DATABASES[_kind()][1]
    if root is None:
        return os.environ["PATH"]
    folder.mkdir(exist_ok=True)
    for name in CLIENTS:
        if (root.folder / "usr" / "bin" / name).exists():
            program = folder / name
            # By its path: its name would mean this file again.
            own = shlex.join(root.command(f"/usr/bin/{name}"))
            program.write_text(f'#!/bin/sh\nexec {own} "$@"\n')
            program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def is_mysql() -> bool:
    return _kind() == "mysql"


def _kind() -> str:
    return os.environ.get(throwaway.KIND, "mariadb")
