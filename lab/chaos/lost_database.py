"""A stack that loses its MariaDB with all files, and gets another from a backup and copied binary logs."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.chaos.calls import Call, Observations
from lab.chaos.shop import Shop
from scripts.stack import (
    SetupError,
    children,
    own_stack,
    places,
    ports,
    process_identity,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.instance import Instance
from scripts.stack.mariadb import USER, Server

RESTORE_SECONDS = 1800
"""The longest that one of the commands may take."""
CONNECTIONS = 400
ANSWER_SECONDS = 300
"""Processes start slowly on a machine that does other work."""
FAILED = 2
"""What make ends with where a command has ended with 1."""
LATER = "L10"
"""Sagas are past their deadline where nothing has run for as long: the workers find them."""
RECONCILE_ATTEMPTS = 5
"""A card of the gateway simulator refuses the first two refunds."""


@contextmanager
def copied_logs(instance: Instance, logs: Path) -> Iterator[None]:
    """`mariadb-binlog` beside the server, as on another machine: it writes what is logged into the folder."""
    server = instance.mariadb()
    command = [
        system_packages.program("mariadb-binlog"),
        "--no-defaults",
        f"--socket={server.socket}",
        f"--user={USER}",
    ]
    command += ["--read-from-remote-server", "--raw", "--stop-never", f"--result-file={logs}/", "log.000001"]
    environment = os.environ | {"MYSQL_PWD": server.password}
    child = children.start(command, log=instance.home / "copied-logs.log", environment=environment)
    try:
        yield
    finally:
        if child.poll() is None:
            children.stop(child)


def back_up(instance: Instance, folder: Path) -> dict[str, Any]:
    """Back the running server up; what `backup --json` says. Raises SetupError."""
    made: dict[str, Any] = json.loads(manage(instance, f"backup {folder} --json"))
    say(f"backup under load: {made['bytes'] / 2**20:.1f} MiB in {made['seconds']} s")
    return made


def lose_server(instance: Instance) -> None:
    """Kill the server at once, keep it down, and take its files away."""
    pid = process_identity.leader_of(instance.run, "mariadb")
    if pid is None:
        raise SetupError("the private MariaDB is not running")
    process_identity.kill({pid}, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(supervision.stop, instance, "mariadb")
        while supervision.states(instance)["mariadb"] != "STOPPING":
            time.sleep(0.01)
        process_identity.kill({pid})
        stopping.result()
    server = instance.mariadb()
    server.data.rename(instance.home / "lost-data")
    server.binary_logs.rename(instance.home / "lost-logs")
    places.private_folder(server.binary_logs)


@contextmanager
def second_server(instance: Instance) -> Iterator[Server]:
    """A second, empty server; when the block ends its files take the place of those that are lost."""
    second = Server(
        home=instance.home / "second",
        socket=places.socket_path(instance.run, "second.sock"),
        password=instance.mariadb().password,
        max_connections=CONNECTIONS,
    )
    second.prepare()
    log, there = instance.logs / "second.log", str(second.socket)
    with children.running(second.command(), name="mariadb", log=log, is_ready=there, stop_seconds=60):
        yield second
    second.data.rename(instance.mariadb().data)


def start_server(instance: Instance) -> None:
    """Start the stack's server on the files that are now in its place. Raises SetupError."""
    supervision.start(instance, ["mariadb"])
    late = f"the restored MariaDB does not answer; see {instance.logs / 'mariadb.log'}"
    waiting.until(lambda: ports.answers(str(instance.mariadb().socket)), late, within_seconds=ANSWER_SECONDS)


def restore(instance: Instance, second: Server, backup: Path, logs: Path, *more: str) -> dict[str, Any]:
    """Restore into the second server, and check its tables; what `restore --json` says. Raises SetupError."""
    words = ["restore", str(backup), "--logs", str(logs), "--json", *more]
    done: dict[str, Any] = json.loads(manage(instance, " ".join(words), url=second.url))
    say(f"restored: dump {done['dump_seconds']} s, logs {done['log_seconds']} s")
    manage(instance, "migrate --check", url=second.url)
    return done


def refund_orphaned_charges(instance: Instance, second: Server) -> int:
    """Refund charges that the restored state doesn't know; how many. Raises SetupError where some are
    left."""
    before = json.loads(manage(instance, "reconcile --json", url=second.url, codes=(0, FAILED)))
    for _ in range(RECONCILE_ATTEMPTS):
        ran = own_stack.manage(instance, "reconcile --fix --json", DATABASE_URL=second.url)
        if ran.returncode == 0:
            manage(instance, "reconcile --json", url=second.url)
            return int(before["found"])
    raise SetupError(f"reconcile --fix leaves charges: {ran.stdout}{ran.stderr}")


def audit_copy(instance: Instance, second: Server, seen: Observations) -> None:
    """Check every law in the copy; one that is broken is a finding, but L10 while no worker runs."""
    laws = json.loads(manage(instance, "audit --json", url=second.url, codes=(0, FAILED)))["laws"]
    for finding in own_stack.broken(law for law in laws if law["law"] != LATER):
        seen.record_finding(f"in the copy {finding}")
    say(f"audit of the copy: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")


def wait_for_answer(shop: Shop) -> None:
    """Return with the shop's first answer that is none of an outage. Raises NoFinalAnswer."""
    call = Call("GET", "/products", shop.token)
    shop.connection.call_until_final(call, until=time.monotonic() + ANSWER_SECONDS)


def manage(instance: Instance, words: str, *, url: str = "", codes: tuple[int, ...] = (0,)) -> str:
    """The output of a management command, at the given address if there is one. Raises SetupError."""
    address = url or instance.mariadb().url
    ran = own_stack.manage(instance, words, within_seconds=RESTORE_SECONDS, DATABASE_URL=address)
    return children.printed(ran, codes=codes)


def say(text: str) -> None:
    print(text, flush=True)
