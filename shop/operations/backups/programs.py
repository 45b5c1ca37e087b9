"""The servers' own programs: their names and options, which differ between MariaDB and MySQL."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


class BackupFailed(Exception):
    """A backup or a restore that was not done, or not whole; its text says what to do."""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """The three programs for one kind of server, and the package that has them.

    `read_log` is empty where they can't read the server's binary log, and `position`, the option with which a
    dump notes its position there, as well. With `has_new_name_in_filter`, `--database` of the log's reader
    means a database by the name that `--rewrite-db` gives it.
    """

    dump: str
    client: str
    package: str
    read_log: str = ""
    position: str = ""
    has_new_name_in_filter: bool = False
    dump_options: Sequence[str] = ()
    log_options: Sequence[str] = ()


MARIADB = Programs(
    dump="mariadb-dump",
    client="mariadb",
    package="mariadb-client",
    read_log="mariadb-binlog",
    position="--master-data=2",
    # A server that was restored into before has logged the same transactions twice.
    log_options=["--skip-gtid-strict-mode"],
)
MYSQL = Programs(
    dump="mysqldump",
    client="mysql",
    package="mysql-client",
    read_log="mysqlbinlog",
    position="--source-data=2",
    has_new_name_in_filter=True,
    # GTIDs are those of the server that is lost: another one gives its own.
    dump_options=["--set-gtid-purged=OFF"],
    log_options=["--skip-gtids"],
)
# They ask MySQL for its position by a statement that 8.4 has no more, and don't know its events.
MARIADB_ON_MYSQL = Programs(dump="mariadb-dump", client="mariadb", package="mariadb-client")
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
    if shutil.which(MARIADB_ON_MYSQL.dump) is None:
        return MYSQL
    if found := shutil.which(MYSQL.dump):
        # Debian has MariaDB's programs by the names of MySQL's.
        version = subprocess.run([found, "--version"], capture_output=True, check=False).stdout
        return MARIADB_ON_MYSQL if b"MariaDB" in version else MYSQL
    return MARIADB_ON_MYSQL


@contextmanager
def running(name: str, package: str, *options: str, **pipes: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """The program, until it ends. Raises BackupFailed where it is not installed, or doesn't succeed."""
    path = shutil.which(name)
    if path is None:
        raise BackupFailed(
            f"{name} is missing: install it (Debian's package {package}), then run this again."
        )
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen([path, *options], stderr=errors, **pipes)
        # One that ends before it has read all of its input says why.
        with suppress(BrokenPipeError) if child.stdin else nullcontext(), child:
            yield child
        if child.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or ["it gave no reason"]
            raise BackupFailed(f"{name} ended with {child.returncode}: {lines[-1]}")


@contextmanager
def option_file(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """The option that names a file with the server's address and password: no list of processes has these."""
    settings = connection.settings_dict
    host, more = settings["HOST"], settings["OPTIONS"]
    socket = more.get("unix_socket") or (host if host.startswith("/") else "")
    values = {"socket": socket} if socket else {"host": host, "port": settings["PORT"]}
    values |= {"user": settings["USER"], "password": settings["PASSWORD"]}
    values |= {f"ssl-{name}": value for name, value in more.get("ssl", {}).items()}
    escaped = {name: str(value).replace("\\", "\\\\").replace('"', '\\"') for name, value in values.items()}
    lines = ["[client]", *(f'{name}="{value}"' for name, value in escaped.items() if value)]
    with tempfile.TemporaryDirectory(prefix="firstcome-backup-") as folder:  # readable by this user alone
        path = Path(folder) / "client.cnf"
        path.write_text("\n".join([*lines, ""]))
        yield f"--defaults-file={path}"
