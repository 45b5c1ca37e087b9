"""One instance of the shop on this machine: its port, its database, where its state lies, and its runner.

A state folder has one runner at a time: its lock ends with the runner's process, however that ends.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import SetupError, children, places, ports
from scripts.stack.mariadb import Server
from scripts.stack.system_packages import Root

DATABASES = ("sqlite", "mariadb")
DEFAULT_PORT = 8000
# In a row: the shop's, the gateway's, the data platform's, the partner's, and those in `METRICS_PORTS`.
PORTS = 7
# Where processes without a web server serve their metrics, after the shop's port.
METRICS_PORTS = {"worker": 4, "issuer": 5, "beat": 6}
STOPPING = "stopping"
PATIENCE_SECONDS = 25  # Longer than stopping takes
# A runner whose make was killed gets its signal at once, and writes that it is stopping a moment later.
DOUBT_SECONDS = 1


@dataclass(kw_only=True, eq=False)
class Instance:
    """What `make run PORT=… DB=… VAR=…` names. What belongs to one database lies in a folder of its own:
    rows, Redis, and the simulators' books must not meet those of the other database."""

    home: Path
    port: int
    database: str
    # The folder of the code that runs: another checkout where two commits are compared.
    project: Path = places.PROJECT
    server: type[Server] = Server
    # The Debian root of that server, which has to be made; otherwise it is this machine's.
    root: Root | None = None

    def __post_init__(self) -> None:
        self.data = self.home / self.database
        # Process ids, sockets, the lock: what means nothing once the instance is stopped.
        self.run = self.home / "run"
        self.logs, self.static, self.metrics = (self.home / name for name in ("log", "static", "metrics"))
        self.ports = range(self.port, self.port + PORTS)
        self.gateway_port, self.data_platform_port, self.partner_port = self.ports[1:4]
        self.url = f"http://{ports.HOST}:{self.port}"
        paths = (
            places.socket_path(self.run, name) for name in ("redis.sock", "mariadb.sock", "supervisor.sock")
        )
        self.redis_socket, self.mariadb_socket, self.supervisor_socket = paths

    def metrics_targets(self) -> dict[str, list[str]]:
        """Where Prometheus finds the metrics of each kind of process: `host:port` by the job's name."""
        return {
            job: [f"{ports.HOST}:{self.port + offset}"]
            for job, offset in ({"web": 0} | METRICS_PORTS).items()
        }

    def mariadb(self, **options: Any) -> Server:
        """The private MariaDB of this instance; its password is made at the first call."""
        password = places.secret(self.home, "mariadb-password")
        return self.server(
            home=self.data, socket=self.mariadb_socket, password=password, root=self.root, **options
        )


# What chooses an instance.
OPTIONS = {"port": "of the web server; the next six are taken as well", "db": "sqlite or mariadb"}


def choose(*, home: Path, port: str, database: str, project: Path = places.PROJECT) -> Instance:
    """The instance that these words name; empty ones mean the defaults. Raises SetupError."""
    if database not in ("", *DATABASES):
        raise SetupError(f"DB={database} is not a database: say DB=sqlite or DB=mariadb")
    number = ports.parse(port or str(DEFAULT_PORT), following=PORTS - 1)
    return Instance(home=home, port=number, database=database or DATABASES[0], project=project)


def remember(instance: Instance) -> None:
    """Make this the instance that `make manage` means."""
    text = json.dumps({"port": instance.port, "database": instance.database})
    places.write_whole(instance.home / "instance.json", text)


def remembered(home: Path) -> Instance | None:
    """The running or last instance with its state there, or None."""
    try:
        last = json.loads((home / "instance.json").read_text())
        return Instance(home=home, port=int(last["port"]), database=str(last["database"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def held(instance: Instance, *, command: str = "make run") -> Iterator[None]:
    """Hold the state. Waits for a runner that is stopping; raises SetupError when one goes on."""
    started = time.monotonic()
    with (instance.run / "lock").open("a+") as lock:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            lock.seek(0)
            holder = lock.read().strip() or "starting just now"
            if time.monotonic() - started > (PATIENCE_SECONDS if holder == STOPPING else DOUBT_SECONDS):
                advice = "stop it first, or use another folder with VAR=…"
                raise SetupError(f"{command} is running already ({holder}): {advice}")
            time.sleep(0.1)
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, port {instance.port}")
        lock.flush()
        yield


def begin_to_stop(instance: Instance) -> None:
    """Let nothing interrupt it, and let a runner that waits for the state know that it will be free soon."""
    children.ignore_stop_signals()
    (instance.run / "lock").write_text(STOPPING)
