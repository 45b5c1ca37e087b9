"""A private MariaDB from the Debian packages: own data, own socket, no TCP, never the system's service."""

import getpass
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from scripts.stack import SetupError, places, system_packages
from scripts.stack.debian import Root

DATABASE = "firstcome"
USER = "firstcome"
COLLATION = "utf8mb4_uca1400_ai_ci"
"""As the shop's `doctor` wants it: the default of MariaDB 10.11 takes all four-byte characters for one."""
SMALLEST_POOL_MIB, LARGEST_POOL_MIB = 256, 4096


@dataclass(frozen=True, kw_only=True)
class Server:
    """One private server: where it lives and how its only user signs in."""

    home: Path
    socket: Path
    password: str
    max_connections: int
    root: Root | None = None
    """The Debian root that has its programs, which has to be made; otherwise they are this machine's."""
    collation: ClassVar[str] = COLLATION
    has_binary_log: bool = False
    """For restores to a moment; a second flush for each commit."""

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def temporary(self) -> Path:
        return self.home / "tmp"

    @property
    def url(self) -> str:
        """What `DATABASE_URL` has to be."""
        return f"mysql://{USER}:{self.password}@/{DATABASE}?unix_socket={quote(str(self.socket))}"

    def prepare(self) -> None:
        """Create the data folder, unless it is there, and the file of first statements."""
        places.private_folder(self.home)
        places.private_folder(self.temporary)
        places.private_folder(self.binary_logs)
        if not self.data.exists():
            self.make_data()
        statements = self.home / "first.sql"
        statements.touch(mode=0o600)
        statements.write_text(self.first_statements())

    def make_data(self) -> None:
        """Make the data folder with the system tables. Raises SetupError."""
        install(self.data, temporary=self.temporary, root=self.root)

    def command(self) -> list[str]:
        """The command line of the server in the foreground. It accepts connections once the user exists."""
        # A minute's worth of coupons: with less, pages are written out before they fill.
        return [*_program("mariadbd", self.root), *self.options(), "--innodb-log-file-size=512M"]

    def options(self) -> list[str]:
        """Those that every kind of server has."""
        return [
            "--no-defaults",
            *(["--user=root"] if os.getuid() == 0 else []),
            f"--datadir={self.data}",
            f"--socket={self.socket}",
            f"--pid-file={self.home / 'mariadb.pid'}",
            # A server that starts in a shared /tmp deletes the temporary tables of all others there.
            f"--tmpdir={self.temporary}",
            f"--init-file={self.home / 'first.sql'}",
            "--skip-networking",
            "--skip-name-resolve",
            *(self._binary_log() if self.has_binary_log else ["--skip-log-bin"]),
            "--character-set-server=utf8mb4",
            f"--collation-server={self.collation}",
            "--innodb-flush-log-at-trx-commit=1",
            f"--innodb-buffer-pool-size={buffer_pool_mib()}M",
            "--innodb-print-all-deadlocks=ON",
            f"--max-connections={self.max_connections}",
        ]

    @property
    def binary_logs(self) -> Path:
        return self.home / "binary-logs"

    def _binary_log(self) -> list[str]:
        return [
            f"--log-bin={self.binary_logs / 'log'}",
            "--binlog-format=ROW",
            "--sync-binlog=1",
            "--binlog-expire-logs-seconds=604800",
            "--server-id=1",
        ]

    def first_statements(self) -> str:
        # All privileges, so that tests may create databases and kill connections; the server is private.
        return (
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4 COLLATE {self.collation};\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'localhost';\n"
            f"SET PASSWORD FOR '{USER}'@'localhost' = PASSWORD('{self.password}');\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'localhost' WITH GRANT OPTION;\n"
        )


def buffer_pool_mib() -> int:
    """A quarter of the machine's memory within bounds; what isn't needed of it is never touched.

    Codes and accounts come in no order: once their indexes don't fit, each new coupon waits for the disk.
    """
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return min(max(memory_mib // 4, SMALLEST_POOL_MIB), LARGEST_POOL_MIB)


def install(data: Path, *, temporary: Path, root: Root | None = None) -> None:
    """Make the system tables beside their place and move them there: a kill leaves nothing half made."""
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [
        *_program("mariadb-install-db", root),
        "--no-defaults",
        f"--datadir={unfinished}",
        f"--user={getpass.getuser()}",
        "--auth-root-authentication-method=socket",
        f"--auth-root-socket-user={getpass.getuser()}",
        "--skip-test-db",
        "--skip-name-resolve",
    ]
    environment = os.environ | {"TMPDIR": str(temporary)}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SetupError(f"mariadb-install-db failed:\n{(made.stdout + made.stderr).strip()}")
    unfinished.rename(data)


def _program(name: str, root: Root | None) -> list[str]:
    if root:
        return root.command(name)
    return [system_packages.program(name)]
