"""Throwaway MariaDB, Redis, gateway and data platform for tests: real processes, empty at each start.

`make test SERVE=1` keeps them up until Ctrl-C and writes `var/test/env`; then, in another shell:
`source var/test/env && .venv/bin/pytest coupons`. Several at once take a slot each:
`SLOT=3 source var/test/env`.
"""

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from scripts import options
from scripts.stack import (
    Environment,
    Settings,
    SetupError,
    Words,
    children,
    environment as environments,
    instance as instances,
    mariadb,
    places,
    ports,
    processes,
    system_packages,
)
from scripts.stack.children import say
from scripts.stack.instance import Instance
from scripts.stack.system_packages import Root

# What `DB` may name: the kind of server, and the Debian root that it comes from.
DATABASES: dict[str, tuple[type[mariadb.Server], Root | None]] = {
    "mariadb": (mariadb.Server, None),
    "mysql": (mariadb.MySQL, system_packages.MYSQL),
    "mariadb-next": (mariadb.Server, system_packages.MARIADB_NEXT),
}
CONNECTIONS = 1000  # Race tests open hundreds, and several developers share one server
ROOT_SECONDS = 600  # One takes 40 s, and four minutes beside other work
# What the tests have in common with an instance.
SETTINGS = (
    "DATABASE_URL",
    "GATEWAY_URL",
    "DATA_PLATFORM_URL",
    "SECRET_KEY",
    "DEBUG",
    "STAFF_OTP_REQUIRED",
    "WEBHOOK_SECRET_SIMULATOR",
    "EVENT_SECRET",
)
KIND = "TEST_DATABASE_KIND"  # The setting that names the kind, for tests that start a server of their own


@contextlib.contextmanager
def servers(home: Path, *, kind: str = "") -> Iterator[Settings]:
    """Start all four in an emptied folder, yield the settings that point to them. Raises SetupError."""
    kind = kind or "mariadb"
    if kind not in DATABASES:
        raise SetupError(f"DB={kind} is not a server for tests: say one of {', '.join(DATABASES)}")
    server, root = DATABASES[kind]
    if root:
        root.require(within_seconds=ROOT_SECONDS)
    shutil.rmtree(home, ignore_errors=True)
    instance = Instance(
        home=home, port=ports.free(instances.PORTS + 1), database="mariadb", server=server, root=root
    )
    places.private_folder(instance.run)
    database = instance.mariadb(max_connections=CONNECTIONS)
    database.prepare()
    gateway = instance.gateway_port
    sink = instance.data_platform_port
    redis = instance.port + instances.PORTS
    # Several developers share it, a number each.
    options = {"bind": ports.HOST, "port": redis, "dir": home, "databases": 64, "save": ""}
    redis_command = [system_packages.program("redis-server"), *processes.words(options)]
    commands: dict[str, tuple[Words, ports.Address]] = {
        "database": (database.command(), database.socket),
        "redis": (redis_command, (ports.HOST, redis)),
        # Sends no webhooks: there is no shop.
        "gateway": (processes.simulator("gateway", gateway, home / "gateway.sqlite3"), (ports.HOST, gateway)),
        "sink": (processes.command("sink", instance, {}), (ports.HOST, sink)),
    }
    chosen = environments.defaults(instance)
    settings = {name: chosen[name] for name in SETTINGS} | {
        "FIRSTCOME_TEST": "1",
        KIND: kind,
        "REDIS_URL": f"redis://{ports.HOST}:{redis}/0",
        "BROKER_URL": f"redis://{ports.HOST}:{redis}/1",
        "LOG_LEVEL": "WARNING",
    }
    with contextlib.ExitStack() as started:
        for name, (command, address) in commands.items():
            log = home / f"{name}.log"
            child = children.running(
                command, name=name, log=log, is_ready=address, environment=os.environ | settings
            )
            started.enter_context(child)
        yield settings


def _shell_lines(settings: Environment) -> str:
    """The settings for a shell; a slot has a test database and two Redis numbers of its own."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    database = "${SLOT:+test_firstcome_}${SLOT:-${TEST_DATABASE_NAME:-test_firstcome_0}}"
    lines.append(f'export TEST_DATABASE_NAME="{database}"\n')
    for name, number in (("REDIS_URL", 0), ("BROKER_URL", 1)):
        server = settings[name].rpartition("/")[0]
        lines.append(f'export {name}="{server}/$((2 * ${{SLOT:-0}} + {number}))"\n')
    return "".join(lines)


def _keep_up() -> int:
    kind = options.read("make test SERVE=1", db=", ".join(DATABASES)).db
    home = places.state() / "test"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "test.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"the test servers are up already: source {home}/env && .venv/bin/pytest")
            return 0
        with contextlib.suppress(KeyboardInterrupt), servers(home, kind=kind) as settings:
            (home / "env").write_text(_shell_lines(settings))
            say(f"up, until Ctrl-C; in another shell: source {home}/env && .venv/bin/pytest")
            signal.pause()
    return 0


if __name__ == "__main__":
    children.end_with(_keep_up, "test servers")
