"""The servers' own programs: their names and options, which differ between MariaDB and MySQL."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.db.backends.base.base import BaseDatabaseWrapper


class BackupFailed(Exception):
    """A backup or a restore that was not done, or not whole; its text says what to do."""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """The three programs for one kind of server, and the package that has them."""

    dump: str
    client: str
    read_log: str
    """Empty where these programs can't read the server's binary log."""
    package: str
    position: str
    """The option with which a dump notes its position in the binary log, as a comment; empty for none."""
    has_new_name_in_filter: bool = False
    """Whether `--database` of the log's reader means a database by the name that `--rewrite-db` gives it."""
    dump_options: Sequence[str] = ()
    log_options: Sequence[str] = ()


MARIADB = Programs(
    dump="mariadb-dump",
    client="mariadb",
    read_log="mariadb-binlog",
    package="mariadb-client",
    position="--master-data=2",
    # A server that was restored into before has logged the same transactions twice.
    log_options=["--skip-gtid-strict-mode"],
)
MYSQL = Programs(
    dump="mysqldump",
    client="mysql",
    read_log="mysqlbinlog",
    package="mysql-client",
    position="--source-data=2",
    has_new_name_in_filter=True,
    # GTIDs are those of the server that is lost: another one gives its own.
    dump_options=["--set-gtid-purged=OFF"],
    log_options=["--skip-gtids"],
)


MARIADB_ON_MYSQL = Programs(
    dump="mariadb-dump",
    client="mariadb",
    # They ask MySQL for its position by a statement that 8.4 has no more, and don't know its events.
    read_log="",
    package="mariadb-client",
    position="",
)
"""MariaDB's programs on a MySQL server: a whole backup and its restore, without the binary log."""
NEED_MYSQL = "MariaDB's programs can't read the binary log of MySQL: install MySQL's own client programs"


def programs_for(connection: BaseDatabaseWrapper) -> Programs:
    """The programs for the connection's server that are installed. Raises BackupFailed for SQLite."""
    if connection.vendor != "mysql":
        raise BackupFailed(
            "This is for MariaDB and MySQL; docs/howto/restore-a-backup.md says how SQLite's file is copied."
        )
    if getattr(connection, "mysql_is_mariadb", False):
        return MARIADB
    if _is_of_mysql(MYSQL.dump) or shutil.which(MARIADB_ON_MYSQL.dump) is None:
        return MYSQL
    return MARIADB_ON_MYSQL


def _is_of_mysql(name: str) -> bool:
    """Whether the program is there and MySQL's own: Debian has MariaDB's by the same names."""
    found = shutil.which(name)
    if found is None:
        return False
    ran = subprocess.run([found, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return b"MariaDB" not in ran.stdout


def find(name: str, package: str) -> str:
    """The path of the program. Raises BackupFailed where it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise BackupFailed(
            f"{name} is missing: install it (Debian's package {package}), then run this again."
        )
    return found


@contextmanager
def option_file(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """The option that names a file with the server's address and password: no list of processes has these."""
    with tempfile.TemporaryDirectory(prefix="firstcome-backup-") as folder:  # readable by this user alone
        path = Path(folder) / "client.cnf"
        path.write_text(_options(connection.settings_dict))
        yield f"--defaults-file={path}"


def _options(settings: Mapping[str, Any]) -> str:
    more = settings["OPTIONS"]
    socket = more.get("unix_socket") or (settings["HOST"] if settings["HOST"].startswith("/") else "")
    address = {"socket": socket} if socket else {"host": settings["HOST"], "port": settings["PORT"]}
    encryption = {f"ssl-{name}": value for name, value in more.get("ssl", {}).items()}
    values = {**address, "user": settings["USER"], "password": settings["PASSWORD"], **encryption}
    return "\n".join(
        ["[client]", *(f"{name}={_quoted(value)}" for name, value in values.items() if value), ""]
    )


def _quoted(value: object) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def require_success(program: str, child: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
    """Wait for the program's end. Raises BackupFailed with its last line unless it succeeded."""
    if child.wait() != 0:
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise BackupFailed(f"{program} ended with {child.returncode}: {lines[-1]}")
