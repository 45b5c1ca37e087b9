"""`make restore-drill`: the shop loses its MariaDB under load, and goes on with what a second one restored.

A backup is made while clients buy, and `mariadb-binlog` copies the binary log as it is written. Then the
server is killed, and its files are gone. A second server gets the backup and the copied logs, is reconciled
and audited, and its files take the place of those that are lost; the clients' calls go on by themselves. The
drill measures how much is lost (RPO) and how long the shop is away (RTO). It fails when a law is broken, or
when more is lost than `MOST_LOST_SECONDS`.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from scripts.chaos import trial
from scripts.chaos.calls import Observations
from scripts.chaos.clients import Buyer, Staff
from scripts.chaos.memory import Setup
from scripts.chaos.shop import Shop
from scripts.stack import (
    SetupError,
    children,
    database,
    own_stack,
    places,
    ports,
    process_identity,
    supervision,
)
from scripts.stack.instance import Instance
from scripts.stack.mariadb import SEARCH_PATH, USER, Server
from scripts.stack.processes import BINARY_LOG

NAME, SECONDS = "restore-drill", 60
MOST_LOST_SECONDS = 1.0
RESTORE_SECONDS = 600
"""For as long after the load's time clients repeat calls that the loss interrupted."""
CONNECTIONS = 400
LOAD = trial.Trial(
    name=NAME, database="mariadb", seconds=SECONDS, has_outages=False, pauses=(0, 0), has_faults=False
)
NEWEST = "SELECT UNIX_TIMESTAMP(MAX(at)), COUNT(*) FROM shop_journalline"


def main() -> int:
    """The process behind `make restore-drill`; its exit code."""
    parser = argparse.ArgumentParser(prog="make restore-drill", description="Lose the database; restore it.")
    parser.add_argument("--seconds", default="", help=f"how long clients buy before the loss ({SECONDS})")
    parser.add_argument("--seed", default="", help="to have the same mix of calls again")
    asked = parser.parse_args()
    seconds, seed = int(asked.seconds or SECONDS), asked.seed or "1"
    return own_stack.measure(f"make {NAME}", NAME, lambda instance: run(instance, seconds, seed))


def run(instance: Instance, seconds: int, seed: str) -> int:
    """Run the drill on a fresh stack; returns the exit code. Raises SetupError."""
    seen = Observations()
    with own_stack.running(instance, **trial.SETTINGS, **{BINARY_LOG: "1"}):
        setup, shop = trial.set_up(LOAD, instance, seen, minutes=max(1, seconds // 60))
        backup, logs = instance.home / "backup", places.private_folder(instance.home / "copied-logs")
        with _load(instance, setup, seen, seed, seconds), _copied_logs(instance, logs):
            time.sleep(seconds / 2)
            made = json.loads(_manage(instance, f"backup {backup} --json"))
            _say(f"backup under load: {made['bytes'] / 2**20:.1f} MiB in {made['seconds']} s")
            time.sleep(seconds / 2)
            lost_at, lost_clock = time.monotonic(), time.time()
            _lose_server(instance)
            lost_seconds = lost_clock - _restore(instance, backup, logs, seen)
            supervision.start(instance, ["mariadb"])
            _manage(instance, "rebuild_redis")
            shop.get("/products")
            _say(f"RTO: {time.monotonic() - lost_at:.1f} s from the loss to the first answer")
        database.wait_until_worked_off(instance)
        trial.audit(instance, seen)
        _report_loss(setup, shop, seen, lost_seconds)
    for finding in seen.findings:
        _say(f"FINDING {finding}")
    return 1 if seen.findings else 0


@contextmanager
def _load(instance: Instance, setup: Setup, seen: Observations, seed: str, seconds: int) -> Iterator[None]:
    """Clients that buy and refund until the block ends; each then has the answer to its last call."""
    stop, ends_at = threading.Event(), time.monotonic() + seconds + RESTORE_SECONDS
    clients: list[Buyer | Staff] = [
        Buyer(
            setup.buyers[number :: trial.BUYERS],
            setup,
            port=instance.port,
            seed=f"{seed} {number}",
            ends_at=ends_at,
            seen=seen,
        )
        for number in range(trial.BUYERS)
    ]
    clients.append(Staff(setup, port=instance.port, seed=f"{seed} staff", ends_at=ends_at, seen=seen))
    with ThreadPoolExecutor(len(clients)) as threads:
        running = [threads.submit(client.run, stop) for client in clients]
        try:
            yield
        finally:
            stop.set()
    for client in running:
        client.result()


@contextmanager
def _copied_logs(instance: Instance, logs: Path) -> Iterator[None]:
    """`mariadb-binlog` beside the server: it writes what the server logs into the folder, as another machine
    would."""
    program = shutil.which("mariadb-binlog", path=SEARCH_PATH)
    if program is None:
        raise SetupError("mariadb-binlog is missing; run this first: sudo apt-get install -y mariadb-client")
    server = instance.mariadb()
    command = [program, "--no-defaults", f"--socket={server.socket}", f"--user={USER}"]
    command += ["--read-from-remote-server", "--raw", "--stop-never", f"--result-file={logs}/", "log.000001"]
    environment = os.environ | {"MYSQL_PWD": server.password}
    child = children.start(command, log=instance.home / "copied-logs.log", environment=environment)
    try:
        yield
    finally:
        if child.poll() is None:
            children.stop(child)


def _lose_server(instance: Instance) -> None:
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


def _restore(instance: Instance, backup: Path, logs: Path, seen: Observations) -> float:
    """Restore into a second server, check it, put its files in place; returns the instant of its state."""
    started = time.monotonic()
    second = Server(
        home=instance.home / "second",
        socket=places.socket_path(instance.run, "second.sock"),
        password=instance.mariadb().password,
        max_connections=CONNECTIONS,
    )
    second.prepare()
    log = instance.logs / "second.log"
    child = children.start(second.command(), log=log, environment=os.environ)
    try:
        is_there = lambda: ports.answers(str(second.socket))  # noqa: E731
        children.wait_until(is_there, name="mariadb", child=child, log=log, within_seconds=60)
        done = json.loads(_manage(instance, f"restore {backup} --logs {logs} --json", url=second.url))
        seconds = f"dump {done['dump_seconds']} s, logs {done['log_seconds']} s"
        _say(f"restored {time.monotonic() - started:.1f} s after the second server's start: {seconds}")
        _manage(instance, "migrate --check", url=second.url)
        _manage(instance, "reconcile --fix --json", url=second.url)
        _audit_copy(instance, second, seen)
        with database.connected_to(second) as connection, connection.cursor() as cursor:
            cursor.execute(NEWEST)
            state_at, lines = cursor.fetchone()
        _say(f"{lines} lines of the journal are restored")
    finally:
        children.stop(child, within_seconds=60)
    second.data.rename(instance.mariadb().data)
    return float(state_at)


def _audit_copy(instance: Instance, second: Server, seen: Observations) -> None:
    laws = json.loads(_manage(instance, "audit --json", url=second.url, codes=(0, 1)))["laws"]
    for law in laws:
        if not law["holds"]:
            seen.record_finding(f"{law['law']} is broken in the copy: {law['offenders'][:10]}")
    _say(f"audit of the copy: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")


def _report_loss(setup: Setup, shop: Shop, seen: Observations, lost_seconds: float) -> None:
    """Say what is lost: the time before the loss that the copy lacks, and answered orders that are gone."""
    gone = answered = 0
    for account in setup.buyers:
        orders = account.orders().keys()
        answered += len(orders)
        gone += len(orders - shop.orders(account).keys())
    _say(f"RPO: {lost_seconds:.2f} s; {gone} of {answered} answered orders are lost")
    if lost_seconds > MOST_LOST_SECONDS:
        seen.record_finding(f"{lost_seconds:.2f} s are lost, more than {MOST_LOST_SECONDS}")


def _manage(instance: Instance, words: str, *, url: str = "", codes: tuple[int, ...] = (0,)) -> str:
    """The output of a management command, at the given address if there is one. Raises SetupError."""
    ran = own_stack.manage(instance, words, DATABASE_URL=url or instance.mariadb().url)
    if ran.returncode not in codes:
        raise SetupError(f"{words} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return ran.stdout


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
