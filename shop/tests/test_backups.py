"""Backups and restores of a real server with a binary log: one state, up to a moment, never half of it."""

import gzip
import hashlib
import io
import json
import os
import random
import shlex
import shutil
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import MySQLdb
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from scripts.stack import children, places, throwaway
from scripts.stack.mariadb import DATABASE, USER, Server
from scripts.tests.circles import boots
from shop import configuration
from shop.management.commands import migrate
from shop.operations.backups import dumping, programs, restoring
from shop.operations.backups.programs import BackupFailed
from shop.operations.backups.restoring import ID_GAP
from shop.tests.racing import wait_until
from shop.tests.second_connection import in_its_place

RESTORED = "firstcome_restored"
CLIENTS = ("mariadb", "mariadb-dump", "mariadb-binlog", "mysql", "mysqldump", "mysqlbinlog")
"""What `shop.operations.backups.programs` looks for."""


@pytest.fixture(scope="module")
@boots("a database server")
def running_server(tmp_path_factory) -> Iterator[Server]:
    """A server that keeps a binary log and has an empty database."""
    folder = tmp_path_factory.mktemp("server")
    make, root = throwaway.DATABASES[_kind()]
    server = make(
        home=folder / "server",
        socket=places.socket_path(folder, "server.sock"),
        password="of-this-test",
        max_connections=20,
        root=root,
        has_binary_log=True,
    )
    server.prepare()
    log = folder / "server.log"
    with children.running(server.command(), name="server", log=log, is_ready=str(server.socket)):
        yield server


@pytest.fixture
def server(running_server) -> Server:
    """The server as it was when it started: no other database, no older log, no variable of a test's."""
    databases = execute(running_server, "SHOW DATABASES LIKE 'firstcome%'", database="")
    execute(
        running_server,
        *(f"DROP DATABASE {name}" for [name] in databases),
        f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4",
        "SET GLOBAL local_infile = DEFAULT",
        "SET GLOBAL wait_timeout = DEFAULT",
        "RESET BINARY LOGS AND GTIDS" if is_mysql() else "RESET MASTER",
        database="",
    )
    return running_server


@pytest.fixture(autouse=True)
def clients(tmp_path, monkeypatch) -> None:
    """A PATH with the client programs of this kind; they are made in a folder if a Debian root has them."""
    root, folder = throwaway.DATABASES[_kind()][1], tmp_path / "clients"
    if root is None:
        return
    folder.mkdir()
    for name in CLIENTS:
        if (root.folder / "usr" / "bin" / name).exists():
            program = folder / name
            # By its path: its name would mean this file again.
            own = shlex.join(root.command(f"/usr/bin/{name}"))
            program.write_text(f'#!/bin/sh\nexec {own} "$@"\n')
            program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def is_mysql() -> bool:
    return _kind() == "mysql"


def _kind() -> str:
    return os.environ.get(throwaway.KIND, "mariadb")


@pytest.fixture(autouse=True)
def _unblocked(django_db_blocker) -> Iterator[None]:
    """Commands run in this process, with a connection to this module's server."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "backup"


def run(server: Server, *words: str, database: str = DATABASE, user: str = USER) -> tuple[int, str]:
    """A management command on this server: its exit code, and all that it prints."""
    url = server.url.replace(f"/{DATABASE}?", f"/{database}?").replace(f"//{USER}:", f"//{user}:")
    with mock.patch.dict(os.environ, DATABASE_URL=url):
        settings = connections.configure_settings({"default": configuration.database("DATABASE_URL")})
    own = load_backend(settings["default"]["ENGINE"]).DatabaseWrapper(settings["default"], "default")
    output = io.StringIO()
    with in_its_place(own):
        try:
            call_command(*words, stdout=output, stderr=output)
        except CommandError as error:
            return error.returncode, f"{output.getvalue()}{error}"
        except SystemExit as ended:
            return int(str(ended.code)), output.getvalue()
    return 0, output.getvalue()


def done(server: Server, *words: str, database: str = DATABASE, user: str = USER) -> str:
    code, output = run(server, *words, database=database, user=user)
    assert code == 0, output
    return output


def refusal(server: Server, *words: str, database: str = RESTORED) -> str:
    code, output = run(server, *words, database=database)
    assert code == 1, output
    return output


def restored(server: Server, folder: Path, *words: str, database: str = RESTORED) -> str:
    """What the restore of this backup into a new database prints."""
    create(server, database)
    return done(server, "restore", str(folder), *words, database=database)


def execute(server: Server, *statements: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
    """Execute each statement in a transaction of its own; the rows of the last one."""
    found: list[tuple[Any, ...]] = []
    with closing(connect(server, database)) as opened, opened.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            found = list(cursor.fetchall())
    return found


def connect(server: Server, database: str = DATABASE) -> Any:
    return MySQLdb.connect(
        unix_socket=str(server.socket),
        user=USER,
        password=server.password,
        database=database,
        autocommit=True,
    )


def create(server: Server, database: str) -> None:
    execute(server, f"CREATE DATABASE {database} CHARACTER SET utf8mb4")


def with_rows(server: Server) -> None:
    """Two amounts, between which transactions move; their sum is 100 in every state."""
    execute(
        server,
        "CREATE TABLE amounts (id INT AUTO_INCREMENT PRIMARY KEY, amount INT NOT NULL, name VARCHAR(99))",
        "INSERT INTO amounts (amount, name) VALUES (50, 'before'), (50, 'Größe 한국어')",
    )


@pytest.fixture
def backup(server, folder) -> Path:
    """The folder of a backup of those rows."""
    with_rows(server)
    done(server, "backup", str(folder))
    return folder


def rows(server: Server, database: str) -> list[tuple[Any, ...]]:
    return execute(server, "SELECT id, amount, name FROM amounts ORDER BY id", database=database)


def copied_logs(server: Server, folder: Path) -> str:
    """A copy of the server's logs: a restore into the same server adds to its own."""
    copied = folder.parent / "copied-logs"
    shutil.copytree(server.binary_logs, copied)
    return str(copied)


def begin_next_second() -> datetime:
    """Return at the beginning of a second: what was written before has an earlier one."""
    started = datetime.now(UTC).replace(microsecond=0)
    wait_until(lambda: datetime.now(UTC) >= started + timedelta(seconds=1))
    return started + timedelta(seconds=1)


def test_a_backup_made_while_amounts_move_is_one_state_and_is_restored_whole(server, folder):
    with_rows(server)
    stop, moves = Event(), 0

    def move() -> int:
        count = 0
        with closing(connect(server)) as opened, opened.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("BEGIN")
                cursor.execute("UPDATE amounts SET amount = amount - 1 WHERE id = 1")
                cursor.execute("UPDATE amounts SET amount = amount + 1 WHERE id = 2")
                cursor.execute("COMMIT")
                count += 1
        return count

    with ThreadPoolExecutor(1) as threads:
        moving = threads.submit(move)
        try:
            output = done(server, "backup", str(folder))
        finally:
            stop.set()
        moves = moving.result()

    assert moves > 0
    assert "The binary log goes on from log.0" in output
    restored(server, folder)
    (_, first, _), (_, second, name) = rows(server, RESTORED)
    assert first + second == 100
    assert first > 50 - moves, "later moves are not in it"
    assert name == "Größe 한국어"


def test_logs_are_replayed_from_the_backup_up_to_a_moment_or_to_their_end(server, backup):
    begin_next_second()
    execute(server, "FLUSH BINARY LOGS", "UPDATE amounts SET name = 'after the backup' WHERE id = 1")
    moment = begin_next_second()
    execute(server, "DELETE FROM amounts")

    logs = ["--logs", copied_logs(server, backup)]
    for database, more, expected in (
        (RESTORED, ["--until", moment.isoformat()], ["after the backup", "Größe 한국어"]),
        ("firstcome_end", [], []),
    ):
        output = restored(server, backup, *logs, *more, database=database)
        assert [name for *_, name in rows(server, database)] == expected
        assert "2 binary logs are replayed" in output
        assert "these logs reach " in output
        assert "is not restored" not in output
        assert "rebuild_redis" in output


def test_logs_that_end_before_the_moment_are_refused_unless_that_is_accepted(server, backup):
    execute(server, "UPDATE amounts SET name = 'after the backup' WHERE id = 1")
    logs = copied_logs(server, backup)
    begin_next_second()
    # The server goes on, and the copy does not.
    execute(server, "DELETE FROM amounts")
    moment = begin_next_second()
    create(server, RESTORED)
    words = ["restore", str(backup), "--until", moment.isoformat(), "--logs"]

    output = refusal(server, *words, logs)
    assert "These logs end at " in output
    assert f"which is before {moment.isoformat()}" in output
    assert execute(server, "SHOW TABLES", database=RESTORED) == []

    output = done(server, *words, logs, "--accept-early-end", database=RESTORED)
    assert f"up to {moment}, is not restored" in output
    assert [name for *_, name in rows(server, RESTORED)] == ["after the backup", "Größe 한국어"]
    (Path(logs) / "log.000001").write_bytes(b"not a log")
    create(server, "firstcome_other")
    assert "is no binary log" in refusal(server, *words, logs, database="firstcome_other")


def test_the_privileges_that_the_guide_names_are_enough(server, folder):
    with_rows(server)
    create(server, RESTORED)
    of_backups, of_restores = (
        ("REPLICATION CLIENT", "REPLICATION_APPLIER, SESSION_VARIABLES_ADMIN")
        if is_mysql()
        else ("BINLOG MONITOR", "BINLOG REPLAY")
    )
    for name, everywhere, database, own in (
        ("dumping", f"RELOAD, {of_backups}", DATABASE, "SELECT, SHOW VIEW"),
        ("restoring", of_restores, RESTORED, "ALL PRIVILEGES"),
    ):
        execute(
            server,
            f"CREATE USER {name}@localhost IDENTIFIED BY '{server.password}'",
            f"GRANT {everywhere} ON *.* TO {name}@localhost",
            f"GRANT {own} ON {database}.* TO {name}@localhost",
        )
    done(server, "backup", str(folder), user="dumping")
    execute(server, "UPDATE amounts SET name = 'after the backup' WHERE id = 1")

    logs = copied_logs(server, folder)
    done(server, "restore", str(folder), "--logs", logs, database=RESTORED, user="restoring")

    assert [name for *_, name in rows(server, RESTORED)] == ["after the backup", "Größe 한국어"]


def test_mariadbs_programs_back_mysql_up_without_its_binary_log(server, folder, monkeypatch):
    if not is_mysql():
        pytest.skip("they are MariaDB's own programs")
    with_rows(server)
    own = shutil.which("mysqldump")
    done(server, "backup", str(folder.with_name("of-mysql")))
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(os.pathsep)[2])
    assert own != shutil.which("mysqldump")

    output = done(server, "backup", str(folder))
    assert programs.NEED_MYSQL in output
    restored(server, folder)
    assert rows(server, RESTORED) == rows(server, DATABASE)
    logs = ["--logs", str(server.binary_logs)]
    for backup in (folder, folder.with_name("of-mysql")):
        assert programs.NEED_MYSQL in refusal(server, "restore", str(backup), *logs)


@pytest.mark.boots("a database server")
@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("mysqldump  Ver 9.7.4 for debian-linux-gnu on x86_64", programs.MYSQL),
        ("mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB", programs.MARIADB_ON_MYSQL),
    ],
)
def test_mariadbs_program_by_the_name_of_mysqls_is_not_taken_for_it(version, expected, tmp_path, monkeypatch):
    for name in ("mysqldump", "mariadb-dump"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    mysql = SimpleNamespace(vendor="mysql", mysql_is_mariadb=False)
    assert programs.programs_for(cast(BaseDatabaseWrapper, mysql)) is expected


def test_ids_and_positions_of_the_feed_given_after_the_restored_state_never_come_again(server, folder):
    with_rows(server)
    execute(server, "CREATE TABLE events_feedstate (last_position BIGINT, swept_position BIGINT, gaps JSON)")
    execute(server, "INSERT INTO events_feedstate VALUES (7, 2, '[]')")
    done(server, "backup", str(folder))
    execute(server, "INSERT INTO amounts (amount) VALUES (1), (2), (3)")
    restored(server, folder)

    execute(server, "INSERT INTO amounts (amount) VALUES (9)", database=RESTORED)

    assert [id for id, *_ in rows(server, RESTORED)] == [1, 2, 3 + ID_GAP]
    [(last, swept, gaps)] = execute(server, "SELECT * FROM events_feedstate", database=RESTORED)
    [[first, end, restored_at]] = json.loads(gaps)
    assert (last, swept, first, end) == (7 + ID_GAP, 2, 8, 7 + ID_GAP)
    assert abs(restored_at / 1000 - time.time()) < 60


def test_what_cannot_be_restored_whole_is_refused_before_anything_is_changed(server, backup, tmp_path):
    folder, before = backup, datetime.now(UTC) - timedelta(hours=1)
    create(server, RESTORED)
    none, logs = tmp_path / "none", ["--logs", str(server.binary_logs)]
    none.mkdir()

    def unrestored(*words: str, database: str = RESTORED) -> str:
        output = refusal(server, "restore", *words, database=database)
        assert execute(server, "SHOW TABLES", database=RESTORED) == []
        return output

    assert "has tables: let DATABASE_URL name an empty one" in unrestored(str(folder), database=DATABASE)
    assert "has no whole backup" in unrestored(str(none))
    assert "there are: none" in unrestored(str(folder), "--logs", str(none))
    assert "A moment needs the binary logs" in unrestored(str(folder), "--until", "2026-11-21T14:30:05")
    assert "choose an older one" in unrestored(str(folder), *logs, "--until", before.isoformat())
    dump = folder / dumping.DUMP
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-20])
    assert f"is damaged ({len(whole) - 20} bytes instead of {len(whole)})" in unrestored(str(folder))
    dump.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "another SHA-256" in unrestored(str(folder))


def test_a_restore_that_was_interrupted_is_named_until_its_database_is_dropped(server, backup):
    description = backup / dumping.DESCRIPTION
    described = description.read_text()
    description.write_text(described.replace('"amounts"', '"amounts", "lost"'))
    create(server, RESTORED)

    assert "Tables of the backup are missing: lost" in refusal(server, "restore", str(backup))

    description.write_text(described)
    for words in (["restore", str(backup)], ["backup", str(backup.with_name("second"))]):
        assert "was interrupted: drop the database" in refusal(server, *words)
    assert f"the restore into {RESTORED} was interrupted" in run(server, "doctor", database=RESTORED)[1]
    execute(server, f"DROP DATABASE {RESTORED}")
    restored(server, backup)
    assert (dumping.INCOMPLETE,) not in execute(server, "SHOW TABLES", database=RESTORED)


def test_the_description_of_a_later_release_is_read_and_one_that_is_none_is_refused(server, backup):
    path = backup / dumping.DESCRIPTION
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"mood": "good"}))
    assert dumping.read_description(backup).tables == ["amounts"]
    for made_up in ("[]", "5", '"x"', "{}"):
        path.write_text(made_up)
        with pytest.raises(BackupFailed, match="has no whole backup"):
            dumping.read_description(backup)


def test_a_log_reaches_to_the_second_of_its_last_event_that_has_one(tmp_path):
    """A session that had set its time to the future made logs look whole that end before the moment."""
    seconds = (1_790_000_000, 4_000_000_000, 1_790_000_007, 0)
    events = b"".join(struct.pack("<IBIIIH", each, 2, 1, 19, 0, 0) for each in seconds)
    log = tmp_path / "log.000001"
    log.write_bytes(b"\xfebin" + events)
    assert restoring.reach([log]) == datetime.fromtimestamp(1_790_000_007, UTC)


def test_a_dump_reads_no_file_of_the_machine_that_restores_it(server, backup):
    secret = backup.parent / "secret"
    secret.write_text("a password\n")
    loading = f"LOAD DATA LOCAL INFILE '{secret}' INTO TABLE amounts;\n".encode()
    statements = b"CREATE TABLE amounts (name VARCHAR(99));\n" + loading
    dump, description = gzip.compress(statements + dumping.COMPLETED + b"\n"), backup / dumping.DESCRIPTION
    (backup / dumping.DUMP).write_bytes(dump)
    described = {"bytes": len(dump), "sha256": hashlib.sha256(dump).hexdigest()}
    description.write_text(json.dumps(json.loads(description.read_text()) | described))
    create(server, RESTORED)
    execute(server, "SET GLOBAL local_infile = 1")

    refusal(server, "restore", str(backup))

    assert execute(server, "SELECT name FROM amounts", database=RESTORED) == []


def test_an_archive_that_cannot_be_unpacked_is_one_clear_error(tmp_path):
    packed = gzip.compress(random.Random(1).randbytes(5000) + b"a" * 100_000)
    for damaged in (packed[:20] + b"\xff" * 50 + packed[70:], packed[:-30], b"plain text"):
        (tmp_path / dumping.DUMP).write_bytes(damaged)
        sha256 = hashlib.sha256(damaged).hexdigest()
        about = {"database": "shop", "server": "", "begun_at": "", "ended_at": "", "seconds": 0}
        backup = dumping.Backup(**about, bytes=len(damaged), sha256=sha256, tables=[])
        with pytest.raises(BackupFailed, match="is damaged"):
            dumping.require_whole(tmp_path, backup)


def test_a_backup_needs_a_folder_of_its_own_and_waits_for_no_migration(server, folder):
    with closing(connect(server)) as migrating, migrating.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", [migrate.lock_name(DATABASE)])
        output = refusal(server, "backup", str(folder), database=DATABASE)
        assert "A migrate or another backup is under way" in output
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    done(server, "backup", str(folder))
    assert folder.stat().st_mode & 0o077 == 0, "others may not read it"
    assert "is not empty" in refusal(server, "backup", str(folder), database=DATABASE)


def test_the_lock_of_a_dump_that_takes_long_is_kept(server, folder, tmp_path):
    with_rows(server)
    execute(server, "SET GLOBAL wait_timeout = 2")
    name = "mysqldump" if is_mysql() else "mariadb-dump"
    slow = tmp_path / "slow" / name
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\n[ "$1" = --version ] || sleep 4\nexec {shutil.which(name)} "$@"\n')
    slow.chmod(0o755)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
        done(server, "backup", str(folder))


@pytest.mark.boots("a database server")
@pytest.mark.django_db(transaction=True)
def test_a_server_without_a_binary_log_is_backed_up_without_a_position(folder, server, capsys):
    call_command("backup", str(folder))
    assert "The server keeps no binary log" in capsys.readouterr().out

    logs = ["--logs", str(server.binary_logs)]
    output = refusal(server, "restore", str(folder), *logs, database=DATABASE)
    assert "The backup has no position in a binary log" in output
    done(server, "restore", str(folder))

    tables = {name for [name] in execute(server, "SHOW TABLES")}
    assert tables == set(connection.introspection.table_names())
    assert done(server, "migrate", "--check") == ""
