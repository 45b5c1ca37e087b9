"""`make restore-drill`: the shop loses its MariaDB under load, and goes on with what a second one restored.

A backup is made while clients buy, and `mariadb-binlog` copies the binary log as it is written. Then the
server is killed, and its files are gone. A second server gets the backup and the copied logs, is reconciled
and audited, and its files take the place of those that are lost; the clients' calls go on by themselves. The
drill measures how much is lost (RPO) and how long the shop is away (RTO). It fails when a law is broken, or
when more is lost than `MOST_LOST_SECONDS`.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from scripts.chaos import lost_database, trial
from scripts.chaos.calls import Observations
from scripts.chaos.clients import staff_and_buyers
from scripts.chaos.lost_database import say
from scripts.chaos.memory import Setup
from scripts.chaos.shop import Shop
from scripts.stack import SetupError, database, environment, own_stack, places
from scripts.stack.instance import Instance
from scripts.stack.processes import BINARY_LOG

NAME, SECONDS = "restore-drill", 60
MOST_LOST_SECONDS = 1.0
FILL_SECONDS = 3600
LOAD = trial.Trial(
    name=NAME, database="mariadb", seconds=SECONDS, has_outages=False, pauses=(0, 0), has_faults=False
)
NEWEST = "SELECT UNIX_TIMESTAMP(MAX(at)), COUNT(*) FROM shop_journalline"


def main() -> int:
    """The process behind `make restore-drill`; its exit code."""
    parser = argparse.ArgumentParser(prog="make restore-drill", description="Lose the database; restore it.")
    parser.add_argument("--seconds", default="", help=f"how long clients buy before the loss ({SECONDS})")
    parser.add_argument("--seed", default="", help="to have the same mix of calls again")
    parser.add_argument("--rows", default="", help="how many coupons there are before the load (0)")
    asked = parser.parse_args()
    seconds, seed, rows = int(asked.seconds or SECONDS), asked.seed or "1", int(asked.rows or 0)
    return own_stack.measure(f"make {NAME}", NAME, lambda instance: run(instance, seconds, seed, rows))


def run(instance: Instance, seconds: int, seed: str, rows: int) -> int:
    """Run the drill on a fresh stack; returns the exit code. Raises SetupError."""
    seen = Observations()
    with own_stack.running(instance, **trial.SETTINGS, **{BINARY_LOG: "1"}):
        setup, shop = trial.set_up(LOAD, instance, seen, minutes=max(1, seconds // 60))
        if rows:
            _fill(instance, rows)
        backup, logs = instance.home / "backup", places.private_folder(instance.home / "copied-logs")
        with _load(instance, setup, seen, seed, seconds), lost_database.copied_logs(instance, logs):
            time.sleep(seconds / 2)
            lost_database.back_up(instance, backup)
            time.sleep(seconds / 2)
            lost_at, lost_clock = time.monotonic(), time.time()
            lost_database.lose_server(instance)
            lost_seconds = lost_clock - _restore(instance, backup, logs, seen)
            lost_database.start_server(instance)
            lost_database.manage(instance, "rebuild_redis")
            lost_database.wait_for_answer(shop)
            say(f"RTO: {time.monotonic() - lost_at:.1f} s from the loss to the first answer")
        database.wait_until_worked_off(instance)
        trial.audit(instance, seen)
        _report_loss(setup, shop, seen, lost_seconds)
    for finding in seen.findings:
        say(f"FINDING {finding}")
    return 1 if seen.findings else 0


def _fill(instance: Instance, rows: int) -> None:
    """Have so many coupons more in the tables. Raises SetupError."""
    started = time.monotonic()
    command = [sys.executable, "-m", "scripts.bench.filling", "--coupons", str(rows)]
    own = environment.compose(instance, own_stack.own_environment(instance, {"LAB": "1"}))
    ran = subprocess.run(command, cwd=places.PROJECT, env=own, timeout=FILL_SECONDS, check=False)
    if ran.returncode != 0:
        raise SetupError(f"filling the tables ended with {ran.returncode}")
    say(f"{rows} coupons were there before the load, filled in {time.monotonic() - started:.0f} s")


@contextmanager
def _load(instance: Instance, setup: Setup, seen: Observations, seed: str, seconds: int) -> Iterator[None]:
    """Clients that buy and refund until the block ends; each then has the answer to its last call."""
    stop = threading.Event()
    ends_at = time.monotonic() + seconds + lost_database.RESTORE_SECONDS
    clients = staff_and_buyers(
        setup, count=trial.BUYERS, port=instance.port, seed=seed, ends_at=ends_at, seen=seen
    )
    with ThreadPoolExecutor(len(clients)) as threads:
        running = [threads.submit(client.run, stop) for client in clients]
        try:
            yield
        except BaseException as error:
            say(f"{NAME}: failed, and ends when its clients have given up: {error}")
            raise
        finally:
            stop.set()
    for client in running:
        client.result()


def _restore(instance: Instance, backup: Path, logs: Path, seen: Observations) -> float:
    """Restore into a second server, check it, put its files in place; returns the instant of its state."""
    started = time.monotonic()
    with lost_database.second_server(instance) as second:
        lost_database.restore(instance, second, backup, logs)
        say(f"restored {time.monotonic() - started:.1f} s after the second server's start")
        lost_database.refund_orphaned_charges(instance, second)
        lost_database.audit_copy(instance, second, seen)
        with database.connected_to(second) as connection, connection.cursor() as cursor:
            cursor.execute(NEWEST)
            state_at, lines = cursor.fetchone()
        say(f"{lines} lines of the journal are restored")
    return float(state_at)


def _report_loss(setup: Setup, shop: Shop, seen: Observations, lost_seconds: float) -> None:
    """Say what is lost: the time before the loss that the copy lacks, and answered orders that are gone."""
    gone = answered = 0
    for account in setup.buyers:
        orders = account.orders().keys()
        answered += len(orders)
        gone += len(orders - shop.orders(account).keys())
    say(f"RPO: {lost_seconds:.2f} s; {gone} of {answered} answered orders are lost")
    if lost_seconds > MOST_LOST_SECONDS:
        seen.record_finding(f"{lost_seconds:.2f} s are lost, more than {MOST_LOST_SECONDS}")


if __name__ == "__main__":
    sys.exit(main())
