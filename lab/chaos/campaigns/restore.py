"""The campaign `restore`: a database that is lost under load is restored up to a moment before that.

What clients were answered before the moment has to be there, and the restored shop has to go on with what
remains of the lost time in clients, in Redis, at the gateway and at the data platform. The server's own
programs do it. Planted, the copied logs end before the moment: the comparison has to find the loss.

It prints the RTO, from the loss to the first answer (recovery time objective), and the RPO, the time before
the loss whose effects are not restored (recovery point objective), as they are measured.
"""

import math
import os
import re
import signal
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lab.calls import Call, RecordedCall, Setup
from lab.chaos import comparison
from lab.chaos.campaigns.run import Run, say
from lab.chaos.clients import at_work
from lab.chaos.comparison import Effects
from lab.stack import database
from scripts.stack import (
    Settings,
    SetupError,
    children,
    own_stack,
    ports,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.mariadb import DATABASE, USER
from scripts.stack.processes import SHOP

LOAD_SECONDS = 30.0
QUICK_LOAD_SECONDS = 6.0  # Before the backup, between it and the moment, and after the restore
# The moment is so long before the loss, and the planted end of the copied logs so long before the moment.
LOST_SECONDS = 6.0
CUT_SECONDS = 4.0
HEAD = 65_536  # The position stands in the dump's first characters
SETTLE_SECONDS = 120
RESTORE_SECONDS = 1800
ANSWER_SECONDS = 300
PATIENCE_SECONDS = 60
RECONCILE_ATTEMPTS = 5


class Restore(Run):
    """The database is lost once. `moment` and `lost_at` are of the wall clock."""

    def load(self) -> float:
        """Lose the database and restore it; the seconds from the loss to the first answer."""
        pause = QUICK_LOAD_SECONDS if self.is_quick else LOAD_SECONDS
        self.backup = self.instance.home / "backup.sql"
        staff, *buyers = self.clients()
        with at_work(buyers) as stop, ExitStack() as copying:
            copying.enter_context(self.copied_logs())
            # Refunds of the time that is lost are for a person: docs/howto/restore-a-backup.md.
            with at_work([staff]):
                time.sleep(pause)
                self.back_up()
                time.sleep(pause)
            if self.is_planted:
                copying.close()
                time.sleep(CUT_SECONDS)
            self.moment = math.ceil(time.time()) + 2
            time.sleep(self.moment - time.time() + LOST_SECONDS)
            stop.set()
            began = time.time()
            self.lose_server()
            # Not before: what the lost server had committed may be answered a moment later.
            self.lost_at = time.time()
            copying.close()
            self.restore()
            self.shop.ask(Call("GET", "/products", self.shop.token), within_seconds=ANSWER_SECONDS)
            away = time.time() - began
        say(f"RTO: {away:.1f} s from the loss to the first answer")
        if not self.is_planted:
            # The same clients go on, with other keys, and know nothing of calls from before the loss.
            accounts = self.setup.buyers
            earlier = [account.calls for account in accounts]
            for account in accounts:
                account.calls = []
            # Buyers alone: staff could refund what is lost.
            with at_work(self.clients(" again")[1:]):
                time.sleep(pause)
            for account, made in zip(accounts, earlier, strict=True):
                account.calls = [*made, *account.calls]
        return away

    def copied_logs(self) -> AbstractContextManager[Any]:
        """`mariadb-binlog` beside the server, as on another machine: it writes what is logged."""
        self.logs = self.instance.home / "copied-logs"
        self.logs.mkdir()
        name = "mariadb-binlog"
        command = [
            system_packages.program(name),
            *self.sign_in().split(),
            "--raw",
            "--read-from-remote-server",
            "--stop-never",
            f"--result-file={self.logs}/",
            "log.000001",
        ]
        return children.running(
            command,
            name=name,
            log=self.instance.home / "copied-logs.log",
            environment=self.environment(),
            is_ready=lambda: True,
        )

    def environment(self) -> Settings:
        return os.environ | {"MYSQL_PWD": self.instance.mariadb().password, "TZ": "UTC"}

    def back_up(self) -> None:
        """Dump the database with its position in the binary log. Raises SetupError."""
        options = "--single-transaction --quick --hex-blob --no-tablespaces --master-data=2"
        self.shell(f"mariadb-dump {self.sign_in()} {options} {DATABASE} > {self.backup}")
        self.shell(f"tail -n 1 {self.backup} | grep 'Dump completed'")
        say(f"backup under load: {self.backup.stat().st_size / 2**20:.1f} MiB")

    def sign_in(self) -> str:
        """The options by which programs reach the server that is there."""
        return f"--no-defaults --socket={self.instance.mariadb().socket} --user={USER}"

    def shell(self, line: str) -> str:
        """What a line of the shell prints. Raises SetupError where a program of it fails."""
        command = ["bash", "-o", "pipefail", "-ec", line]
        return children.printed(
            children.run(command, within_seconds=RESTORE_SECONDS, environment=self.environment())
        )

    def lose_server(self) -> None:
        """Freeze and kill the server, so that it ends nothing in order, keep it down, and take its files."""
        server = self.instance.mariadb()
        home = self.instance.home
        victims = children.group_of(self.instance.run, "mariadb")
        self.made += bool(victims)
        children.kill(victims, signal.SIGSTOP)
        # Supervisor notes that it is not to be started again.
        supervision.calls(self.instance).stopProcess("stores:mariadb", False)
        children.kill(victims)
        is_stopped = lambda: supervision.states(self.instance)["mariadb"] == "STOPPED"  # noqa: E731
        waiting.until(is_stopped, "the lost MariaDB goes on", within_seconds=PATIENCE_SECONDS)
        server.data.rename(home / "lost-data")
        server.binary_logs.rename(home / "lost-logs")

    def restore(self) -> None:
        """What docs/howto/restore-a-backup.md says. Raises SetupError."""
        for name in SHOP:
            supervision.stop(self.instance, name)
        server = self.instance.mariadb()
        late = "the new MariaDB does not answer"
        server.prepare()
        supervision.start(self.instance, ["mariadb"])
        waiting.until(lambda: ports.answers(server.socket), late, within_seconds=ANSWER_SECONDS)
        client = f"mariadb {self.sign_in()} --binary-mode --default-character-set=utf8mb4 {DATABASE}"
        self.shell(f"{client} < {self.backup}")
        with self.backup.open() as dump:
            found = re.search(r"MASTER_LOG_FILE='([^']+)', MASTER_LOG_POS=(\d+)", dump.read(HEAD))
        if found is None:
            raise SetupError(f"{self.backup} names no position in the binary log")
        logs = " ".join(str(log) for log in sorted(self.logs.iterdir()) if log.name >= found[1])
        options = f"--no-defaults --skip-gtid-strict-mode --start-position={found[2]} --database={DATABASE}"
        until = datetime.fromtimestamp(self.moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.shell(f"mariadb-binlog {options} --stop-datetime='{until}' {logs} | {client}")
        self.command("migrate --no-input")
        say(f"restored: {self.command('finish_restore')}")
        if not self.is_planted:
            # Charges that the restored state doesn't know; a card refuses the first two refunds.
            fix = partial(own_stack.manage, self.instance, "reconcile --fix")
            any(fix().returncode == 0 for _ in range(RECONCILE_ATTEMPTS))
            self.command("reconcile")
        self.command("rebuild_redis")
        supervision.start(self.instance, SHOP)

    def command(self, words: str) -> str:
        """The output of a management command. Raises SetupError."""
        return children.printed(
            own_stack.manage(self.instance, words, within_seconds=RESTORE_SECONDS)
        ).strip()

    def settle(self) -> float:
        """Wait until all is settled and answered, then take what is lost out of the book."""
        is_open = lambda: any(database.left(self.instance))  # noqa: E731
        if waiting.left(is_open, within_seconds=SETTLE_SECONDS, pause_seconds=0.5):
            self.record([f"open after {SETTLE_SECONDS} s: events and sagas {database.left(self.instance)}"])
        self.shop.await_final_answers(self.setup)
        there = comparison.stored(self.setup, self.rows)
        kinds = Counter(one.sort for one in forget(self.setup, there, self.moment, self.lost_at))
        say(f"RPO: {self.lost_at - self.moment:.1f} s before the loss; of these are lost: {dict(kinds)}")
        return 0.0

    def check(self) -> None:
        """Calls of the lost time may be answered otherwise, so the laws alone."""
        self.shop.audit()


def forget(setup: Setup, stored: Effects, moment: float, lost_at: float) -> list[RecordedCall]:
    """Take the calls out of the book whose effect is lost, of those answered from the moment to the loss."""
    lost = list[RecordedCall]()
    for account in (setup.staff, *setup.buyers):
        for made in [one for one in account.calls if one.was_done and moment <= one.answered_at < lost_at]:
            kind, known = comparison.identity(made)
            if kind and known not in stored[kind]:
                account.calls.remove(made)
                lost.append(made)
    return lost
