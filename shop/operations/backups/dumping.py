"""Making a backup: a dump of one consistent state, while the shop sells."""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from shop import clock
from shop.operations.backups import programs
from shop.operations.backups.programs import BackupFailed, Programs

DUMP, DESCRIPTION = "dump.sql.gz", "backup.json"
COMPLETED = b"-- Dump completed"
"""The last line of a whole dump."""
ANOTHER = "take another backup."
INCOMPLETE = "incomplete_restore"
"""The mark of a restore that has not ended: a table that it makes first and drops last."""
_POSITION = re.compile(rb"(?:MASTER|SOURCE)_LOG_FILE='([^']+)', (?:MASTER|SOURCE)_LOG_POS=(\d+)")
_HEAD_BYTES = 65_536
"""The position stands in the dump's first lines."""
_CHUNK = 1 << 20
_IDLE_SECONDS = 7 * 24 * 3600
"""Longer than any dump; the server closes an idle connection after 8 h, unless it is set otherwise."""
_COMPRESSION = 1
"""The fastest: a higher level saves a tenth of the size, and holds the dump's transaction open for longer."""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What a backup's folder has. The state is that of an instant after `begun_at`, and before `ended_at`."""

    database: str
    server: str
    begun_at: str
    ended_at: str
    seconds: float
    bytes: int
    sha256: str
    """Of the dump's file, as `bytes` is."""
    tables: list[str]
    log_file: str = ""
    log_position: int = 0
    """Where the binary log goes on from this state; empty where the backup doesn't know."""
    no_log_because: str = ""


def is_restore_incomplete(connection: BaseDatabaseWrapper) -> bool:
    """Whether a restore into the connection's database is under way, or was interrupted."""
    return INCOMPLETE in connection.introspection.table_names()


def require_no_restore(connection: BaseDatabaseWrapper) -> None:
    if is_restore_incomplete(connection):
        name = connection.settings_dict["NAME"]
        raise BackupFailed(
            f"The restore into the database {name} was interrupted: drop the database, and restore again."
        )


def dump(connection: BaseDatabaseWrapper, folder: Path, *, migrate_lock: str) -> Backup:
    """Dump the connection's database into the new folder, and describe it there once it is whole.

    A migration would change tables under the dump, so `migrate` waits until it ends. Raises BackupFailed.
    """
    chosen = programs.programs_for(connection)
    require_no_restore(connection)
    if folder.exists() and any(folder.iterdir()):
        raise BackupFailed(f"{folder} is not empty: name a new folder for each backup.")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with _no_migration(connection, migrate_lock) as cursor:
        cursor.execute("SELECT VERSION(), @@log_bin, UTC_TIMESTAMP(6)")
        server, has_log, begun_at = cursor.fetchone()
        tables = connection.introspection.table_names()
        started = time.monotonic()
        because = "" if chosen.position else programs.NEED_MYSQL
        because = because if has_log else "The server keeps no binary log"
        _write_dump(connection, chosen, folder / DUMP, *([] if because else [chosen.position]))
    file, position, head = "", 0, _read_whole(folder / DUMP)
    if not because:
        found = _POSITION.search(head)
        if found is None:
            raise BackupFailed(
                "The dump doesn't name its position in the binary log: the account needs BINLOG MONITOR and"
                " RELOAD (MySQL: REPLICATION CLIENT and RELOAD)."
            )
        file, position = found[1].decode(), int(found[2])
    made = Backup(
        database=connection.settings_dict["NAME"],
        server=server,
        begun_at=begun_at.replace(tzinfo=UTC).isoformat(),
        ended_at=clock.now().isoformat(),
        seconds=round(time.monotonic() - started, 1),
        bytes=(folder / DUMP).stat().st_size,
        sha256=_sha256(folder),
        tables=sorted(tables),
        log_file=file,
        log_position=position,
        no_log_because=because,
    )
    # Last: a folder without it has a dump that was cut short.
    (folder / DESCRIPTION).write_text(json.dumps(asdict(made), indent=2) + "\n")
    return made


def read_description(folder: Path) -> Backup:
    """What the folder's backup is; what a later release says beyond it is ignored.

    Raises BackupFailed where none is whole.
    """
    try:
        described: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
        return Backup(**{one.name: described[one.name] for one in fields(Backup) if one.name in described})
    except (OSError, ValueError, TypeError) as error:
        raise BackupFailed(f"{folder} has no whole backup: {DESCRIPTION} can't be read ({error}).") from error


def require_whole(folder: Path, backup: Backup) -> None:
    """Compare the dump with its description, and read it to its end. Raises BackupFailed if it is damaged."""
    path = folder / DUMP
    try:
        if (size := path.stat().st_size) != backup.bytes:
            raise BackupFailed(f"{path} is damaged ({size} bytes instead of {backup.bytes}): {ANOTHER}")
        if _sha256(folder) != backup.sha256:
            raise BackupFailed(f"{path} is damaged (another SHA-256): {ANOTHER}")
        _read_whole(path)
    except (OSError, EOFError, zlib.error) as error:
        raise BackupFailed(f"{path} is damaged ({error}): {ANOTHER}") from error


def _sha256(folder: Path) -> str:
    with (folder / DUMP).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_dump(connection: BaseDatabaseWrapper, chosen: Programs, path: Path, *position: str) -> None:
    options = ["--single-transaction", "--quick", "--hex-blob", "--no-tablespaces", *chosen.dump_options]
    with (
        programs.option_file(connection) as server,
        programs.running(
            chosen.dump,
            chosen.package,
            server,
            *options,
            *position,
            connection.settings_dict["NAME"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as child,
        gzip.open(path, "wb", compresslevel=_COMPRESSION) as packed,
    ):
        assert child.stdout
        shutil.copyfileobj(child.stdout, packed, _CHUNK)


def _read_whole(path: Path) -> bytes:
    """Read the dump to its end; returns its beginning. Raises BackupFailed if it was cut short."""
    with gzip.open(path) as packed:
        head = end = packed.read(_HEAD_BYTES)
        while chunk := packed.read(_CHUNK):
            end = (end + chunk)[-200:]
    if not end.strip().rpartition(b"\n")[2].startswith(COMPLETED):
        raise BackupFailed(f"The dump has no end, so it was cut short: {ANOTHER}")
    return head


@contextmanager
def _no_migration(connection: BaseDatabaseWrapper, name: str) -> Iterator[CursorWrapper]:
    """Hold the lock of `migrate`, so that none begins. Raises BackupFailed while one has it."""
    with connection.cursor() as cursor:
        # The connection is idle for as long as the dump takes.
        cursor.execute("SET SESSION wait_timeout = %s", [_IDLE_SECONDS])
        cursor.execute("SELECT GET_LOCK(%s, 0)", [name])
        if cursor.fetchone() != (1,):
            raise BackupFailed("A migrate or another backup is under way: run this again when it has ended.")
        try:
            yield cursor
        finally:
            cursor.execute("SELECT RELEASE_LOCK(%s)", [name])
