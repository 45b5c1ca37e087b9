"""The campaign `restore`: a database that is lost under load is restored up to a moment before that.

What clients were answered before the moment has to be there, and the restored shop has to go on with what
remains of the lost time in clients, in Redis, at the gateway and at the data platform. Planted, the copied
logs end before the moment: the restore has to refuse them, or else the comparison has to find the loss.
"""

import math
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lab import stage
from lab.calls import Account, Answer, Call, Connection, RecordedCall, Setup, coupon_call, order_call
from lab.chaos import comparison
from lab.chaos.campaigns.run import PLAIN_LOAD, Run, say
from lab.chaos.clients import at_work
from lab.chaos.comparison import Compared, Effects
from lab.stack import database
from scripts.stack import (
    SetupError,
    children,
    own_stack,
    places,
    ports,
    supervision,
    system_packages,
    waiting,
)
from scripts.stack.mariadb import USER
from scripts.stack.processes import BINARY_LOG, SHOP

LOAD_SECONDS, QUICK_LOAD_SECONDS = 30.0, 6.0
"""Before the backup, between it and the moment, and after the restore."""
LOST_SECONDS, CUT_SECONDS = 6.0, 4.0
"""The moment is so long before the loss, and the planted end of the copied logs so long before the moment."""
SETTLE_SECONDS, RESTORE_SECONDS, ANSWER_SECONDS, PATIENCE_SECONDS = 120, 1800, 300, 60
RECONCILE_ATTEMPTS = 5
OPEN = f"""
SELECT (SELECT COUNT(*) FROM orders_order WHERE status IN ('pending', 'paying', 'refunding')),
    {database.UNDELIVERED}, (SELECT COUNT(*) FROM orders_saga WHERE state = 'running')
"""  # noqa: S608 - no input
BOUGHT = "SELECT REPLACE(id, '-', '') FROM orders_order WHERE status IN ('paid', 'refunded')"


class Restore(Run):
    """The database is lost once. `moment` and `lost_at` are of the wall clock."""

    load_kind, has_reader = PLAIN_LOAD, False  # the feed goes back with the database
    client_seconds = 600

    def prepare(self) -> dict[str, str]:
        self.logs = places.private_folder(self.instance.home / "copied-logs")
        return {**super().prepare(), BINARY_LOG: "1"}

    def load(self) -> float:
        """Lose the database and restore it; the seconds from the loss to the first answer."""
        pause, backup = QUICK_LOAD_SECONDS if self.is_quick else LOAD_SECONDS, self.instance.home / "backup"
        self.ask = partial(self.shop.ask, within_seconds=ANSWER_SECONDS)
        self.queue = self.shop.create_campaign("Lost tickets", strategy="queue", quantity=1_000)
        staff, *buyers = self.buyers()
        with at_work(buyers) as stop, ExitStack() as copying:
            copying.enter_context(self.copied_logs())
            # Refunds of the time that is lost are for a person: docs/howto/restore-a-backup.md.
            with at_work([staff]):
                time.sleep(pause)
                say(f"backup under load: {self.command(f'backup {backup} --json')}")
                time.sleep(pause)
            if self.is_planted:
                copying.close()
                time.sleep(CUT_SECONDS)
            self.moment = math.ceil(time.time()) + 2
            time.sleep(self.moment - time.time())
            check_leftovers = self.leave_leftovers()
            time.sleep(LOST_SECONDS)
            self.newest_line = int(self.rows("SELECT MAX(id) FROM shop_journalline")[0][0])
            stop.set()
            began = time.time()
            self.lose_server()
            # Not before: what the lost server had committed may be answered a moment later.
            self.lost_at = time.time()
            copying.close()
            self.restore(f"restore {backup} --logs {self.logs} --json")
            self.ask(Call("GET", "/products", self.shop.token))
            away = time.time() - began
        say(f"RTO: {away:.1f} s from the loss to the first answer")
        if not self.is_planted:
            check_leftovers()
            self.load_again(pause)
        return away

    def copied_logs(self) -> AbstractContextManager[Any]:
        """`mariadb-binlog` beside the server, as on another machine: it writes what is logged."""
        name, server, log = "mariadb-binlog", self.instance.mariadb(), self.instance.home / "copied-logs.log"
        command = [system_packages.program(name), "--no-defaults", f"--socket={server.socket}", "--raw"]
        command += [f"--user={USER}", "--read-from-remote-server", "--stop-never"]
        command += [f"--result-file={self.logs}/", "log.000001"]
        own = os.environ | {"MYSQL_PWD": server.password}
        return children.running(command, name=name, log=log, environment=own, is_ready=lambda: True)

    def lose_server(self) -> None:
        """Freeze and kill the server, so that it ends nothing in order, keep it down, and take its files."""
        server, home = self.instance.mariadb(), self.instance.home
        victims = children.group_of(self.instance.run, "mariadb")
        if not victims:
            raise SetupError("the MariaDB that is to be lost does not run")
        with stage.frozen(victims):
            self.made += 1
            # Supervisor notes that it is not to be started again.
            supervision.calls(self.instance).stopProcess("stores:mariadb", False)
            children.kill(victims)
        is_stopped = lambda: supervision.states(self.instance)["mariadb"] == "STOPPED"  # noqa: E731
        waiting.until(is_stopped, "the lost MariaDB goes on", within_seconds=PATIENCE_SECONDS)
        server.data.rename(home / "lost-data")
        server.binary_logs.rename(home / "lost-logs")

    def restore(self, words: str) -> None:
        """As the guide says: stop the processes, restore into an empty server, compare the books, rebuild
        Redis, start again. Raises SetupError."""
        for name in (one for one in SHOP if one != "issuer"):  # which is stopped
            supervision.stop(self.instance, name)
        server, late = self.instance.mariadb(), "the new MariaDB does not answer"
        server.prepare()
        supervision.start(self.instance, ["mariadb"])
        waiting.until(lambda: ports.answers(str(server.socket)), late, within_seconds=ANSWER_SECONDS)
        words += datetime.fromtimestamp(self.moment, UTC).strftime(" --until=%Y-%m-%dT%H:%M:%S")
        if self.is_planted:
            refused = own_stack.manage(self.instance, words, within_seconds=RESTORE_SECONDS)
            said = refused.stdout + refused.stderr
            # make ends with 2 where a command fails.
            if refused.returncode != 2 or "These logs end at" not in said:
                raise SetupError(f"logs that end too early were not refused: {said}")
            words += " --accept-early-end"
        say(f"restored: {self.command(words)}")
        self.command("migrate --check")
        if not self.is_planted:
            # Charges that the restored state doesn't know; a card refuses the first two refunds.
            fix = partial(own_stack.manage, self.instance, "reconcile --fix")
            fixes = (fix() for _ in range(RECONCILE_ATTEMPTS))
            if not any(ran.returncode == 0 for ran in fixes):
                raise SetupError(f"{RECONCILE_ATTEMPTS} times reconcile --fix has left charges")
            self.command("reconcile")
        # Sagas are past their deadline where nothing has run for as long: the workers find them.
        laws = [law for law in own_stack.audit(self.instance) if law["law"] != "L10"]
        self.record(f"in the copy {finding}" for finding in own_stack.broken(laws))
        self.command("rebuild_redis")
        supervision.start(self.instance, SHOP)

    def command(self, words: str) -> str:
        """The output of a management command. Raises SetupError."""
        ran = own_stack.manage(self.instance, words, within_seconds=RESTORE_SECONDS)
        return children.printed(ran).strip()

    def leave_leftovers(self) -> Callable[[], None]:
        """What the lost time leaves in clients and Redis: an account, and tickets that wait in a queue. The
        check is that all are unknown later; the tickets' calls stay open until they get their coupons."""
        supervision.stop(self.instance, "issuer")
        name, password = f"lost-{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
        registration = {"username": name, "email": f"{name}@example.com", "password": password}
        lost_id = self.shop.call("POST", "/users", registration)["id"]
        token = self.shop.call("POST", "/auth/token", {"username": name, "password": password})["access"]
        self.tickets = tickets = list[RecordedCall]()
        for account in self.setup.buyers[:4]:
            call = coupon_call(account, self.queue)
            tickets.append(self.shop.make(account, "coupon", call, within_seconds=ANSWER_SECONDS))
        lost = Account(lost_id, token)

        def check() -> None:
            answer = self.ask(order_call(lost, self.setup.ample.id))
            again = self.shop.call("POST", "/users", registration)["id"]
            if answer.status != 401 or again <= lost_id:
                self.record([f"account {lost_id} is lost: its token is answered {answer}, it became {again}"])
            for made in tickets:
                ticket = made.answer.body["id"]
                answer = self.ask(Call("GET", f"/queue-tickets/{ticket}", made.call.token))
                made.answer, made.answered_at = self.ask(made.call), time.time()
                if answer.status != 404 or made.answer.body.get("id") == ticket:
                    self.record([f"ticket {ticket} is lost: it is answered {answer}, then {made.answer}"])

        return check

    def load_again(self, seconds: float) -> None:
        """The same clients go on with the restored shop, with other keys, and know nothing of calls from
        before the loss."""
        earlier = [account.calls for account in self.setup.buyers]
        for account in self.setup.buyers:
            account.calls = []
        # Buyers alone: staff could refund what is lost.
        with at_work(self.buyers(" again")[1:]):
            time.sleep(seconds)
        for account, calls in zip(self.setup.buyers, earlier, strict=True):
            account.calls = [*calls, *account.calls]

    def settle(self) -> float:
        """Wait until no order, event or saga is open, and every client has its final answers."""
        look = lambda: [*filter(None, map(int, self.rows(OPEN)[0]))]  # noqa: E731
        if left := waiting.left(look, within_seconds=SETTLE_SECONDS, pause_seconds=0.5):
            self.record([f"orders, events or sagas are open after {SETTLE_SECONDS} s: {left}"])
        self.shop.await_final_answers(self.setup)
        return 0.0

    def compare(self) -> tuple[int, Compared]:
        self.forgotten = forget(self.setup, self.stored(), self.moment, self.lost_at)
        kinds = Counter(made.sort for made in self.forgotten)
        say(f"RPO: {self.lost_at - self.moment:.1f} s before the loss; of these are lost: {dict(kinds)}")
        return super().compare()

    def check(self) -> None:
        """Keys of lost orders place one new order each; journal lines have new ids; and the data platform has
        each paid order's event: twice where it was settled after the moment, and again later."""
        # A call that is repeated before its answer is there may be answered by its own repeat.
        self.shop.connection = Connection(self.instance.port, self.seen, seed=self.seed, impatient_share=0.0)
        for made in [one for one in self.forgotten if one.sort == "order"][:5]:
            first, second = self.ask(made.call), self.ask(made.call)
            if first.is_replay or same_order(made, first):
                self.record([f"the key {made.call.key} of a lost order is answered {first}"])
            if first.status in (201, 402) and (second.body, second.is_replay) != (first.body, True):
                self.record([f"the key {made.call.key} is answered {first}, then {second}"])
        self.settle()
        uncouponed = [made for made in self.tickets if made.answer.status not in (200, 201)]
        self.record(f"no coupon followed the lost ticket: {made.answer}" for made in uncouponed)
        lines = "SELECT COALESCE(MIN(id), 0) FROM shop_journalline WHERE at >= FROM_UNIXTIME(%s)"
        if (line := self.rows(lines, self.lost_at)[0][0]) <= self.newest_line:
            self.record([f"journal lines after the restore begin with {line}, not above {self.newest_line}"])
        events = [event for event in self.shop.events() if event["type"] == "order.paid"]
        paid = {event["data"]["order"].replace("-", "") for event in events}
        bought = {one for (one,) in self.rows(BOUGHT)}
        say(f"{len(paid - bought)} paid orders of the data platform are lost")
        self.record(f"the data platform has no event of order {one}" for one in sorted(bought - paid))
        self.shop.audit()


def same_order(made: RecordedCall, again: Answer) -> bool:
    """Whether the answer names the order that the call was first answered."""
    return made.order_id in (again.body.get("id"), again.body.get("order"))


def forget(setup: Setup, stored: Effects, moment: float, lost_at: float) -> list[RecordedCall]:
    """Take the calls out of the book, and return them, that were answered after the moment and before the
    loss, and whose effect is not there. All others have to be."""
    lost = list[RecordedCall]()
    for account in (setup.staff, *setup.buyers):
        for made in [one for one in account.calls if one.was_done and moment <= one.answered_at < lost_at]:
            kind, known = comparison.identity(made)
            if kind and known not in stored[kind]:
                account.calls.remove(made)
                lost.append(made)
    return lost
