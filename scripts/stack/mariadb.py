"""A private MariaDB from the Debian packages: own data, own socket, no TCP, never the system's service."""

import getpass
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from scripts.stack import Words, children, places, system_packages
from scripts.stack.system_packages import Root

DATABASE = "firstcome"
USER = "firstcome"


@dataclass(kw_only=True, eq=False)
class Server:
    """One private server: where it lives and how its only user signs in."""

    home: Path
    socket: Path
    password: str
    max_connections: int = 0
    # The Debian root that has its programs, which has to be made; otherwise they are this machine's.
    root: Root | None = None
    has_binary_log: bool = False  # For restores to a moment; a second flush for each commit
    # As the shop's `doctor` wants it: MariaDB 10.11's default takes all four-byte characters for one.
    collation: ClassVar[str] = "utf8mb4_uca1400_ai_ci"

    def __post_init__(self) -> None:
        self.data = self.home / "data"
        self.temporary = self.home / "tmp"
        self.binary_logs = self.home / "binary-logs"
        # What `DATABASE_URL` has to be.
        self.url = f"mysql://{USER}:{self.password}@/{DATABASE}?unix_socket={quote(str(self.socket))}"

    def prepare(self) -> None:
        """Create the data folder, unless it is there, and the file of first statements. Raises SetupError."""
        for folder in (self.home, self.temporary, self.binary_logs):
            places.private_folder(folder)
        if not self.data.exists():
            # Beside its place, and moved there: a kill leaves nothing half made.
            unfinished = self.data.with_name("data.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            command = self.install_command(unfinished)
            own = os.environ | {"TMPDIR": str(self.temporary)}
            children.printed(children.run(command, within_seconds=300, environment=own))
            unfinished.rename(self.data)
        # All privileges, so that tests may create databases and kill connections; the server is private.
        statements = (
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4 COLLATE {self.collation};\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'localhost';\n"
            f"ALTER USER '{USER}'@'localhost' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'localhost' WITH GRANT OPTION;\n"
        )
        places.write_whole(self.home / "first.sql", statements, mode=0o600)

    def install_command(self, data: Path) -> Words:
        user = getpass.getuser()
        return [
            *self.program("mariadb-install-db"),
            "--no-defaults",
            "--skip-test-db",
            "--skip-name-resolve",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={user}",
            f"--datadir={data}",
            f"--user={user}",
        ]

    def command(self) -> Words:
        """The command line of the server in the foreground. It accepts connections once the user exists."""
        # A minute's worth of coupons: with less, pages are written out before they fill.
        return [*self.program("mariadbd"), *self.options(), "--innodb-log-file-size=512M"]

    def options(self) -> Words:
        # A quarter of the memory within bounds; what isn't needed of it is never touched. Codes and accounts
        # come in no order: once their indexes don't fit, each new coupon waits for the disk.
        memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        pool_mib = min(max(memory_mib // 4, 256), 4096)
        binary_log = [
            f"--log-bin={self.binary_logs / 'log'}",
            "--binlog-format=ROW",
            "--sync-binlog=1",
            "--binlog-expire-logs-seconds=604800",
            "--server-id=1",
        ]
        # As root a server starts only if that is said.
        user = ["--user=root"] if os.getuid() == 0 else []
        log = binary_log if self.has_binary_log else ["--skip-log-bin"]
        return [
            "--no-defaults",
            *user,
            f"--datadir={self.data}",
            f"--socket={self.socket}",
            f"--pid-file={self.home / 'mariadb.pid'}",
            # A server that starts in a shared /tmp deletes the temporary tables of all others there.
            f"--tmpdir={self.temporary}",
            f"--init-file={self.home / 'first.sql'}",
            "--skip-networking",
            "--skip-name-resolve",
            *log,
            "--character-set-server=utf8mb4",
            f"--collation-server={self.collation}",
            "--innodb-flush-log-at-trx-commit=1",
            f"--innodb-buffer-pool-size={pool_mib}M",
            "--innodb-print-all-deadlocks=ON",
            f"--max-connections={self.max_connections}",
        ]

    def program(self, name: str) -> Words:
        if self.root:
            return self.root.command(name)
        return [system_packages.program(name)]


class MySQL(Server):
    """A private MySQL, in its Debian root, which has to be made."""

    collation = "utf8mb4_0900_ai_ci"

    def install_command(self, data: Path) -> Words:
        words = ("--no-defaults", "--initialize-insecure", "--user=root", f"--datadir={data}")
        return [*self.program("mysqld"), *words]

    def command(self) -> Words:
        own = ["--mysqlx=OFF", "--secure-file-priv=NULL", "--innodb-redo-log-capacity=512M"]
        return [*self.program("mysqld"), *self.options(), *own]
