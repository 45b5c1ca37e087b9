"""A primary and its replica for tests: two servers of their own, on loopback, with the shop's tables."""

import copy
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environ
import MySQLdb
from django.conf import settings
from django.db import connections

from scripts.stack import children, mariadb, places, ports
from scripts.stack.mariadb import Server
from shop import configuration
from shop.db import secondary
from shop.tests import process_state
from shop.tests.racing import wait_until

PASSWORD = "of-this-test"
OPTIONS = (
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    # They need not survive a crash of the machine.
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-networking=OFF",
)
REPLICATION_USER = f"""
CREATE USER IF NOT EXISTS 'replica'@'{ports.HOST}' IDENTIFIED BY '{PASSWORD}';
GRANT REPLICATION SLAVE ON *.* TO 'replica'@'{ports.HOST}';
"""


@dataclass
class OwnServer:
    """One of the two; `id` is its `server_id`."""

    folder: Path
    id: int
    options: tuple[str, ...]
    port: int = field(default_factory=ports.free)
    _child: "subprocess.Popen[bytes] | None" = None

    @property
    def server(self) -> Server:
        socket = places.socket_path(self.folder, f"server{self.id}.sock")
        return Server(
            home=self.folder / f"server{self.id}", socket=socket, password=PASSWORD, max_connections=50
        )

    def start(self) -> None:
        server, log = self.server, self.folder / f"server{self.id}.log"
        server.prepare()
        # The shop's user may grant nothing.
        with (server.home / "first.sql").open("a") as statements:
            statements.write(REPLICATION_USER)
        command = [word for word in server.command() if word not in ("--skip-networking", "--skip-log-bin")]
        command += [*OPTIONS, f"--bind-address={ports.HOST}", f"--port={self.port}", f"--server-id={self.id}"]
        self._child = children.start([*command, *self.options], log=log, environment=os.environ)
        is_there = lambda: ports.answers(str(server.socket))  # noqa: E731
        children.wait_until(is_there, name="mariadb", child=self._child, log=log, within_seconds=60)

    def stop(self) -> None:
        if self._child:
            children.stop(self._child)
            self._child = None

    def run(self, *statements: str) -> list[dict[str, Any]]:
        """Run the statements by a connection of their own; the rows of the last one."""
        connection = MySQLdb.connect(
            unix_socket=str(self.server.socket), user=mariadb.USER, password=PASSWORD, autocommit=True
        )
        with closing(connection), connection.cursor(MySQLdb.cursors.DictCursor) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


class Replicated:
    """The two servers; the replica has what the primary had when `wait_until_applied` returns."""

    def __init__(self, folder: Path) -> None:
        self.primary = OwnServer(folder, 1, ("--log-bin=primary", "--binlog-format=ROW"))
        self.replica = OwnServer(folder, 2, ("--read-only=ON", "--relay-log=relay"))

    def start(self) -> None:
        self.primary.start()
        self.replica.start()
        self.replica.run(
            f"CHANGE MASTER TO MASTER_HOST='{ports.HOST}', MASTER_PORT={self.primary.port},"
            f" MASTER_USER='replica', MASTER_PASSWORD='{PASSWORD}', MASTER_USE_GTID=slave_pos,"
            " MASTER_CONNECT_RETRY=1",
            "START SLAVE",
        )
        self._copy_tables()
        self.wait_until_applied()

    def stop(self) -> None:
        self.replica.stop()
        self.primary.stop()

    def _copy_tables(self) -> None:
        """Copy the test's database as it is: migrations take minutes on a busy machine."""
        known = connections.settings["default"]
        name, options = connections["default"].settings_dict["NAME"], known["OPTIONS"]
        dump = [
            "mariadb-dump",
            "--no-defaults",
            f"--socket={options['unix_socket']}",
            f"--user={known['USER']}",
        ]
        dump += ["--single-transaction", "--skip-triggers", name]
        load = ["mariadb", "--no-defaults", f"--socket={self.primary.server.socket}"]
        load += [f"--user={mariadb.USER}", mariadb.DATABASE]
        with subprocess.Popen(
            dump, stdout=subprocess.PIPE, env=os.environ | {"MYSQL_PWD": known["PASSWORD"]}
        ) as dumping:
            subprocess.run(load, stdin=dumping.stdout, check=True, env=os.environ | {"MYSQL_PWD": PASSWORD})
        assert dumping.returncode == 0
        assert self.primary.run(f"SHOW TABLES FROM {mariadb.DATABASE}"), "the test's database has no tables"

    def wait_until_applied(self) -> None:
        position = self.primary.run("SELECT @@gtid_binlog_pos AS position")[0]["position"]
        wait = f"SELECT MASTER_GTID_WAIT('{position}', 1) AS result"
        wait_until(lambda: self.replica.run(wait)[0]["result"] == 0, seconds=60)


@contextmanager
def as_databases(servers: Replicated) -> Iterator[None]:
    """Let this thread's `default` be the primary, and its `reader` the replica, until the block ends."""
    before, default = connections.settings, connections["default"]
    primary = _settings_of(servers.primary, before["default"])
    os.environ["DATABASE_READ_URL"] = servers.replica.server.url
    try:
        read = configuration.read_database(
            "DATABASE_READ_URL", primary=primary, options=settings.MYSQL_OPTIONS
        )
    finally:
        del os.environ["DATABASE_READ_URL"]
    connections.settings = connections.configure_settings({"default": primary, secondary.ALIAS: read})
    for alias in connections.settings:
        connections[alias] = connections.create_connection(alias)
    try:
        process_state.renew_threads()
        yield
    finally:
        for alias in connections.settings:
            connections[alias].close()
        del connections[secondary.ALIAS]
        connections.settings = before
        connections["default"] = default
        process_state.renew_threads()


def _settings_of(server: OwnServer, like: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a database like another one, but on this server."""
    found = environ.Env.db_url_config(server.server.url)
    options = copy.deepcopy(dict(like["OPTIONS"])) | found["OPTIONS"]
    return dict(like) | {**found, "ENGINE": like["ENGINE"], "OPTIONS": options}
