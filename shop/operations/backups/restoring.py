"""Restoring a backup into an empty database, and replaying binary logs up to a moment."""

import gzip
import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from shop.operations.backups import dumping, programs
from shop.operations.backups.dumping import Backup
from shop.operations.backups.programs import BackupFailed, Programs

ID_GAP = 1_000_000
"""More rows than any table gets between a restored state and the mishap."""
AFTER_A_RESTORE: list[Callable[[BaseDatabaseWrapper, CursorWrapper], None]] = []
"""What else apps do in a restored database, which may be of another schema. They add it in their `ready`."""
_MAGIC = b"\xfebin"
_HEADER = struct.Struct("<IBIIIH")
"""Of an event of a log, with both kinds of server: seconds, type, server, length, next position, flags."""
_EVENT_TIME = re.compile(rb"#(\d{6} +\d+:\d\d:\d\d) server id ")


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore did. The state is the dump's, or that of the last event that was replayed."""

    backup: Backup
    logs: list[str]
    logs_end_at: datetime | None
    """The second of the last event that these have, replayed or not."""
    last_event_at: datetime | None
    dump_seconds: float
    log_seconds: float


def restore(
    connection: BaseDatabaseWrapper,
    folder: Path,
    *,
    logs: Path | None,
    until: datetime | None,
    accepts_early_end: bool = False,
) -> Restored:
    """Restore the folder's backup into the connection's database, which must have no tables.

    With a folder of binary logs, replay them from the backup's position, up to the moment or their end; logs
    that end before the moment are refused, unless that is accepted. Each table's next id, and the next
    position of the event feed, is then far above those that may have been given after the restored state:
    these never come again. Raises BackupFailed.
    """
    chosen = programs.programs_for(connection)
    backup = dumping.read_description(folder)
    files = _logs_since(backup, logs) if logs else []
    if files and not chosen.read_log:
        raise BackupFailed(f"{programs.NEED_MYSQL}.")
    if until and not files:
        raise BackupFailed("A moment needs the binary logs: name their folder by --logs.")
    if until and until < datetime.fromisoformat(backup.ended_at):
        raise BackupFailed(
            f"The backup ended at {backup.ended_at}, and may have changes that are later than that moment:"
            " choose an older one."
        )
    # Before this restore adds to the logs of a server that is restored into.
    logs_end_at = reach(files) if files else None
    if until and logs_end_at and logs_end_at < until.replace(microsecond=0) and not accepts_early_end:
        # It is not known whether what came before that moment is all there.
        raise BackupFailed(
            f"These logs end at {logs_end_at.isoformat()}, in {files[-1].name}, which is before"
            f" {until.isoformat()}: copy the later logs, or accept their end by --accept-early-end."
        )
    dumping.require_no_restore(connection)
    if connection.introspection.table_names():
        name = connection.settings_dict["NAME"]
        raise BackupFailed(f"The database {name} has tables: let DATABASE_URL name an empty one.")
    dumping.require_whole(folder, backup)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {dumping.INCOMPLETE} (begun_at DATETIME NOT NULL PRIMARY KEY)")
    started = time.monotonic()
    with gzip.open(folder / dumping.DUMP) as packed, _client(connection, chosen) as statements:
        shutil.copyfileobj(packed, statements, 1 << 20)
    dump_seconds = time.monotonic() - started
    started = time.monotonic()
    last_event_at = _replay(connection, chosen, backup, files, until) if files else None
    log_seconds = time.monotonic() - started
    # It was idle for as long as that took, and the server may have closed it.
    connection.close()
    missing = set(backup.tables) - set(connection.introspection.table_names())
    if missing:
        raise BackupFailed(f"Tables of the backup are missing: {', '.join(sorted(missing))}.")
    with connection.cursor() as cursor:
        _skip_ids(connection, cursor)
        for restored in AFTER_A_RESTORE:
            restored(connection, cursor)
        cursor.execute(f"DROP TABLE {dumping.INCOMPLETE}")
    return Restored(
        backup=backup,
        logs=[file.name for file in files],
        logs_end_at=logs_end_at,
        last_event_at=last_event_at,
        dump_seconds=round(dump_seconds, 1),
        log_seconds=round(log_seconds, 1),
    )


def _logs_since(backup: Backup, folder: Path) -> list[Path]:
    """The folder's logs from the backup's position on, in order and without a gap. Raises BackupFailed."""
    if not backup.log_file:
        because = backup.no_log_because or "The server keeps no binary log"
        raise BackupFailed(f"The backup has no position in a binary log. {because}.")
    stem, _, first = backup.log_file.rpartition(".")
    found = sorted(path for path in folder.glob(f"{stem}.*") if path.suffix[1:].isdecimal())
    files = [path for path in found if int(path.suffix[1:]) >= int(first)]
    numbers = [int(path.suffix[1:]) for path in files]
    if numbers != list(range(int(first), int(first) + len(files))) or not files:
        there = ", ".join(path.name for path in files) or "none"
        raise BackupFailed(f"{folder} has to have every log from {backup.log_file} on; there are: {there}.")
    return files


def reach(files: Sequence[Path]) -> datetime:
    """The second of the last event that has one in the last file; the server begins each file with one.

    Not the latest second: a session that sets its time writes seconds of the future.

    Raises BackupFailed where that file is no binary log.
    """
    last = 0
    with files[-1].open("rb") as log:
        if log.read(len(_MAGIC)) != _MAGIC:
            raise BackupFailed(f"{files[-1]} is no binary log, or an encrypted one: copy it again.")
        while len(head := log.read(_HEADER.size)) == _HEADER.size:
            seconds, _, _, length, _, _ = _HEADER.unpack(head)
            if length < _HEADER.size:
                break
            last = seconds or last
            log.seek(length - _HEADER.size, 1)
    return datetime.fromtimestamp(last, UTC)


def _replay(
    connection: BaseDatabaseWrapper,
    chosen: Programs,
    backup: Backup,
    files: Sequence[Path],
    until: datetime | None,
) -> datetime | None:
    """Apply the logs' changes of the backup's database; returns the time of the last event."""
    name, of_log = connection.settings_dict["NAME"], backup.database
    options = ["--no-defaults", *chosen.log_options, f"--start-position={backup.log_position}"]
    options += [f"--database={name if chosen.has_new_name_in_filter else of_log}"]
    if name != of_log:
        options.append(f"--rewrite-db={of_log}->{name}")
    if until:
        options.append(f"--stop-datetime={until.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
    # The program reads and prints times in the zone of its process.
    environment, last = os.environ | {"TZ": "UTC"}, None
    with (
        _client(connection, chosen) as statements,
        programs.running(
            chosen.read_log,
            chosen.package,
            *options,
            *map(str, files),
            stdout=subprocess.PIPE,
            env=environment,
        ) as reader,
    ):
        assert reader.stdout
        for line in reader.stdout:
            if found := _EVENT_TIME.match(line):
                last = found[1]
            statements.write(line)
    return datetime.strptime(last.decode(), "%y%m%d %H:%M:%S").replace(tzinfo=UTC) if last else None


def _skip_ids(connection: BaseDatabaseWrapper, cursor: CursorWrapper) -> None:
    if not getattr(connection, "mysql_is_mariadb", False):
        cursor.execute("SET SESSION information_schema_stats_expiry = 0")
    cursor.execute(
        # MySQL has no next id for a table without rows.
        "SELECT table_name, COALESCE(auto_increment, 1)"
        " FROM information_schema.tables JOIN information_schema.columns USING (table_schema, table_name)"
        " WHERE table_schema = DATABASE() AND extra LIKE '%auto_increment%'"
    )
    for table, following in cursor.fetchall():
        quoted = connection.ops.quote_name(table)
        cursor.execute(f"ALTER TABLE {quoted} AUTO_INCREMENT = {int(following) + ID_GAP}")


@contextmanager
def _client(connection: BaseDatabaseWrapper, chosen: Programs) -> Iterator[IO[bytes]]:
    """The input of the server's client, which applies statements up to the first that fails."""
    # A crafted dump may ask the client for files of this machine.
    options = ["--local-infile=0", "--binary-mode", "--default-character-set=utf8mb4"]
    options.append(connection.settings_dict["NAME"])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with (
        programs.option_file(connection) as server,
        programs.running(chosen.client, chosen.package, server, *options, **pipes) as child,
    ):
        assert child.stdin
        yield child.stdin
