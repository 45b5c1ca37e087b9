"""Making a backup: a dump of one consistent state, while the shop sells."""

import gzip
import hashlib
import json
import re
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from shop import clock
from shop.operations.backups import incomplete, programs
from shop.operations.backups.programs import BackupFailed, Programs

DUMP, DESCRIPTION = "dump.sql.gz", "backup.json"
COMPLETED = b"-- Dump completed"
"""The last line of a whole dump."""
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


def dump(connection: BaseDatabaseWrapper, folder: Path, *, migrate_lock: str) -> Backup:
    """Dump the connection's database into the new folder, and describe it there once it is whole.

    A migration would change tables under the dump, so `migrate` waits until it ends. Raises BackupFailed.
    """
    chosen = programs.programs_for(connection)
    incomplete.require_unmarked(connection)
    if folder.exists() and any(folder.iterdir()):
        raise BackupFailed(f"{folder} is not empty: name a new folder for each backup.")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with _no_migration(connection, migrate_lock):
        server, has_log, begun_at = _read_server(connection)
        tables = connection.introspection.table_names()
        started = time.monotonic()
        because = _no_log_because(chosen, has_log=has_log)
        head = _write_dump(connection, chosen, folder, has_position=not because)
    file, position = ("", 0) if because else _position(head)
    made = Backup(
        database=connection.settings_dict["NAME"],
        server=server,
        begun_at=begun_at,
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
    try:
        size, digest = (folder / DUMP).stat().st_size, _sha256(folder)
    except OSError as error:
        raise BackupFailed(f"{folder / DUMP} can't be read ({error}): take another backup.") from error
    if size != backup.bytes:
        raise BackupFailed(
            f"{folder / DUMP} is damaged ({size} bytes instead of {backup.bytes}): take another backup."
        )
    if digest != backup.sha256:
        raise BackupFailed(f"{folder / DUMP} is damaged (another SHA-256): take another backup.")
    end = b""
    try:
        with gzip.open(folder / DUMP) as packed:
            while chunk := packed.read(_CHUNK):
                end = (end + chunk)[-200:]
    except (OSError, EOFError, zlib.error) as error:
        raise BackupFailed(f"{folder / DUMP} is damaged ({error}): take another backup.") from error
    _require_completed(end)


def _sha256(folder: Path) -> str:
    with (folder / DUMP).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_log_because(chosen: Programs, *, has_log: bool) -> str:
    """Why the dump can't name a position in the binary log; empty where it can."""
    if not has_log:
        return "The server keeps no binary log"
    return "" if chosen.position else programs.NEED_MYSQL


def _write_dump(
    connection: BaseDatabaseWrapper, chosen: Programs, folder: Path, *, has_position: bool
) -> bytes:
    """Write the dump; returns its beginning."""
    program = programs.find(chosen.dump, chosen.package)
    head = end = b""
    with programs.option_file(connection) as options, tempfile.TemporaryFile() as errors:
        command = [program, options, "--single-transaction", "--quick", "--hex-blob", "--no-tablespaces"]
        command += [*chosen.dump_options, *([chosen.position] if has_position else [])]
        command += [connection.settings_dict["NAME"]]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert child.stdout
        with child, gzip.open(folder / DUMP, "wb", compresslevel=_COMPRESSION) as packed:
            while chunk := child.stdout.read(_CHUNK):
                head = (head + chunk)[:_HEAD_BYTES] if len(head) < _HEAD_BYTES else head
                end = (end + chunk)[-200:]
                packed.write(chunk)
        programs.require_success(chosen.dump, child, errors)
    _require_completed(end)
    return head


def _require_completed(end: bytes) -> None:
    if not end.strip().rpartition(b"\n")[2].startswith(COMPLETED):
        raise BackupFailed("The dump has no end, so it was cut short: take another backup.")


def _position(head: bytes) -> tuple[str, int]:
    found = _POSITION.search(head)
    if found is None:
        raise BackupFailed(
            "The dump doesn't name its position in the binary log: the account needs BINLOG MONITOR and"
            " RELOAD (MySQL: REPLICATION CLIENT and RELOAD)."
        )
    return found[1].decode(), int(found[2])


def _read_server(connection: BaseDatabaseWrapper) -> tuple[str, bool, str]:
    """The server's version, whether it keeps a binary log, and its time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@log_bin, UTC_TIMESTAMP(6)")
        version, has_log, now = cursor.fetchone()
    return version, bool(has_log), now.replace(tzinfo=UTC).isoformat()


@contextmanager
def _no_migration(connection: BaseDatabaseWrapper, name: str) -> Iterator[None]:
    """Hold the lock of `migrate`, so that none begins. Raises BackupFailed while one has it."""
    with connection.cursor() as cursor:
        # The connection is idle for as long as the dump takes.
        cursor.execute("SET SESSION wait_timeout = %s", [_IDLE_SECONDS])
        cursor.execute("SELECT GET_LOCK(%s, 0)", [name])
        if cursor.fetchone() != (1,):
            raise BackupFailed("A migrate or another backup is under way: run this again when it has ended.")
        try:
            yield
        finally:
            cursor.execute("SELECT RELEASE_LOCK(%s)", [name])
