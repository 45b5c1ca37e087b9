"""The campaign `restore`: a database that is lost under load is restored up to a moment before that.

What clients were answered before the moment has to be there, and the restored shop has to go on with what
remains of the lost time in clients, in Redis, at the gateway and at the data platform. Planted, the copied
logs end before the moment: the restore has to refuse them, or else the comparison has to find the loss.
"""

import json
import math
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from lab.chaos import effects, trial
from lab.chaos.calls import Answer, Call
from lab.chaos.campaigns.run import PLAIN_LOAD, Run, say
from lab.chaos.clients import Buyer, at_work
from lab.chaos.effects import Compared, Effects
from lab.chaos.memory import Account, RecordedCall, Setup
from lab.chaos.shop import BOUGHT
from lab.stack import database
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
from scripts.stack.mariadb import USER
from scripts.stack.processes import BINARY_LOG, SHOP

LOAD_SECONDS, QUICK_LOAD_SECONDS = 30.0, 6.0
"""Before the backup, between it and the moment, and after the restore."""
LOST_SECONDS, CUT_SECONDS = 6.0, 4.0
"""The moment is so long before the loss, and the planted end of the copied logs so long before the moment."""
KILL_SECONDS = 1.0
SETTLE_SECONDS, RESTORE_SECONDS, ANSWER_SECONDS, PATIENCE_SECONDS = 120, 1800, 300, 60
FAILED = 2
"""What make ends with where a command has ended with 1."""
LATER = "L10"
"""Sagas are past their deadline where nothing has run for as long: the workers find them."""
RECONCILE_ATTEMPTS = 5
"""A card of the gateway simulator refuses the first two refunds."""
TICKETS, MOST_REPEATED = 4, 5
OPEN = f"""
SELECT (SELECT COUNT(*) FROM orders_order WHERE status IN ('pending', 'paying', 'refunding')),
    {database.UNDELIVERED}, (SELECT COUNT(*) FROM orders_saga WHERE state = 'running')
"""  # noqa: S608 - no input


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
        queue = self.shop.create_campaign("Lost tickets", strategy="queue", quantity=1_000)
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
            time.sleep(2)
            self.moment = math.ceil(time.time())
            time.sleep(max(0.0, self.moment - time.time()))
            check_leftovers = self.leave_leftovers(queue)
            time.sleep(LOST_SECONDS)
            self.newest_line = int(self.rows("SELECT MAX(id) FROM shop_journalline")[0][0])
            stop.set()
            began = time.time()
            self.lose_server()
            # Not before: what the lost server had committed may be answered a moment later.
            self.lost_at = time.time()
            copying.close()
            self.restore(f"restore {backup} --logs {self.logs} --json")
            self.ask(Call("GET", "/products", self.shop.token), within_seconds=ANSWER_SECONDS)
            away = time.time() - began
        say(f"RTO: {away:.1f} s from the loss to the first answer")
        if not self.is_planted:
            check_leftovers()
            self.load_again(pause)
        return away

    def copied_logs(self) -> AbstractContextManager[Any]:
        """`mariadb-binlog` beside the server, as on another machine: it writes what is logged."""
        server, program = self.instance.mariadb(), system_packages.program("mariadb-binlog")
        command = [program, "--no-defaults", f"--socket={server.socket}", f"--user={USER}", "--raw"]
        command += ["--read-from-remote-server", "--stop-never", f"--result-file={self.logs}/", "log.000001"]
        more: dict[str, Any] = {"log": self.instance.home / "copied-logs.log", "is_ready": lambda: True}
        more["environment"] = os.environ | {"MYSQL_PWD": server.password}
        return children.running(command, name="mariadb-binlog", **more)

    def lose_server(self) -> None:
        """Freeze and kill the server, so that it ends nothing in order, keep it down, and take its files."""
        server, home = self.instance.mariadb(), self.instance.home
        victims = process_identity.group_of(self.instance.run, "mariadb")
        with process_identity.frozen(victims):
            # Once supervisor has noted that it is not to be started again.
            threading.Timer(KILL_SECONDS, process_identity.kill, [victims]).start()
            supervision.stop(self.instance, "mariadb")
        server.data.rename(home / "lost-data")
        server.binary_logs.rename(home / "lost-logs")

    def restore(self, words: str) -> None:
        """As the guide says: stop the processes, restore into an empty server, compare the books, rebuild
        Redis, start again. Raises SetupError."""
        for name, state in supervision.states(self.instance).items():
            if name in SHOP and state != "STOPPED":
                supervision.stop(self.instance, name)
        server, late = self.instance.mariadb(), "the new MariaDB does not answer"
        server.prepare()
        supervision.start(self.instance, ["mariadb"])
        waiting.until(lambda: ports.answers(str(server.socket)), late, within_seconds=ANSWER_SECONDS)
        words += datetime.fromtimestamp(self.moment, UTC).strftime(" --until=%Y-%m-%dT%H:%M:%S")
        if self.is_planted:
            refused = own_stack.manage(self.instance, words, within_seconds=RESTORE_SECONDS)
            if refused.returncode == 0 or "These logs end at" not in refused.stdout + refused.stderr:
                raise SetupError(f"logs that end too early were not refused: {refused}")
            words += " --accept-early-end"
        say(f"restored: {self.command(words)}")
        self.command("migrate --check")
        if not self.is_planted:
            self.refund_orphaned_charges()
        laws = json.loads(self.command("audit --json", codes=(0, FAILED)))["laws"]
        broken = own_stack.broken(law for law in laws if law["law"] != LATER)
        self.record(f"in the copy {finding}" for finding in broken)
        self.command("rebuild_redis")
        supervision.start(self.instance, SHOP)

    def refund_orphaned_charges(self) -> None:
        """Refund charges that the restored state doesn't know. Raises SetupError where some are left."""
        before = json.loads(self.command("reconcile --json", codes=(0, FAILED)))
        for _ in range(RECONCILE_ATTEMPTS):
            if own_stack.manage(self.instance, "reconcile --fix --json").returncode == 0:
                break
        self.command("reconcile --json")
        say(f"{before['found']} charges of lost payments were refunded")

    def command(self, words: str, codes: tuple[int, ...] = (0,)) -> str:
        """The output of a management command. Raises SetupError."""
        ran = own_stack.manage(self.instance, words, within_seconds=RESTORE_SECONDS)
        return children.printed(ran, codes=codes).strip()

    def leave_leftovers(self, queue: int) -> Callable[[], None]:
        """What the lost time leaves in clients and Redis: an account, and tickets that wait in a queue. The
        check is that all are unknown later, and what asks again gets a coupon."""
        supervision.stop(self.instance, "issuer")
        name, password = f"lost-{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
        registration = {"username": name, "email": f"{name}@example.com", "password": password}
        lost_id = self.shop.call("POST", "/users", registration)["id"]
        token = self.shop.call("POST", "/auth/token", {"username": name, "password": password})["access"]
        waiting_accounts, body = self.setup.buyers[:TICKETS], {"campaign": queue}
        calls = [Call("POST", "/coupons", account.token, body) for account in waiting_accounts]
        tickets = [self.ask(call).body["id"] for call in calls]
        basket = {"items": [{"product": self.setup.ample.id, "quantity": 1}]}

        def check() -> None:
            answer = self.ask(Call("POST", "/orders", token, basket, str(uuid.uuid4())))
            if answer.status != 401:
                self.record([f"the token of a lost account is answered {answer}"])
            again = self.shop.call("POST", "/users", registration)["id"]
            if again <= lost_id:
                self.record([f"the id {lost_id} of a lost account came again as {again}"])
            for account, call, ticket in zip(waiting_accounts, calls, tickets, strict=True):
                answer = self.ask(Call("GET", f"/queue-tickets/{ticket}", account.token))
                if answer.status != 404:
                    self.record([f"the lost ticket {ticket} is answered {answer}"])
                until = time.monotonic() + PATIENCE_SECONDS
                while (answer := self.ask(call)).status == 202 and time.monotonic() < until:
                    if answer.body["id"] == ticket:
                        self.record([f"the lost ticket {ticket} was given again"])
                    time.sleep(0.2)
                account.calls.append(RecordedCall("coupon", call, answer))
                if answer.status not in (200, 201):
                    self.record([f"an account whose ticket was lost has no coupon: {answer}"])

        return check

    def load_again(self, seconds: float) -> None:
        """The same clients go on with the restored shop, with other keys, and know nothing of calls from
        before the loss."""
        known, self.setup = self.setup, answered_between(self.setup, 0.0, 0.0)
        # Buyers alone: staff could refund what is lost.
        with at_work([one for one in self.buyers(" again") if isinstance(one, Buyer)]):
            time.sleep(seconds)
        for account, again in zip(known.buyers, self.setup.buyers, strict=True):
            account.calls.extend(again.calls)
        self.setup = known

    def settle(self) -> float:
        """Wait until no order, event or saga is open, and every client has its final answers."""
        look = lambda: any(map(int, self.rows(OPEN)[0])) and self.rows(OPEN)[0]  # noqa: E731
        if left := waiting.left(look, within_seconds=SETTLE_SECONDS, pause_seconds=0.5):
            self.record([f"not settled after {SETTLE_SECONDS} s: orders, events and sagas: {left}"])
        trial.await_final_answers(self.setup, self.shop, self.seen)
        return 0.0

    def compare(self) -> tuple[int, Compared]:
        stored, times = self.stored(), {"moment": self.moment, "lost_at": self.lost_at}
        count, compared, forgotten = loss(self.setup, stored, before=self.before, **times)
        say(f"RPO: {self.lost_at - self.moment:.1f} s before the loss; of these are lost: {dict(forgotten)}")
        between = answered_between(self.setup, self.moment, self.lost_at)
        calls = [made for account in between.buyers for made in account.orders().values() if made.call.key]
        self.forgotten = [one for one in calls if effects.identity(one)[1] not in stored["order"]]
        return count, compared

    def check(self) -> None:
        self.repeat_forgotten()
        self.settle()
        self.check_events()
        trial.audit(self.instance, self.seen)

    def repeat_forgotten(self) -> None:
        """Repeat some keyed calls whose order is lost: each places one new order."""
        # A call that is repeated before its answer is there may be answered by its own repeat.
        more: dict[str, Any] = {"seed": self.seed, "impatient_share": 0.0}
        self.shop.connection = Connection(self.instance.port, self.seen, **more)
        for made in (chosen := self.forgotten[:MOST_REPEATED]):
            first, second = self.ask(made.call), self.ask(made.call)
            if first.is_replay or order_id(first) == order_id(made.answer):
                self.record([f"the key {made.call.key} of a lost order is answered {first}"])
            if first.status in (201, 402) and (second.body, second.is_replay) != (first.body, True):
                self.record([f"the key {made.call.key} is answered {first}, then {second}"])
            made.answer, made.answered_at = second, time.time()
        say(f"{len(chosen)} keys of lost orders placed one new order each")

    def check_events(self) -> None:
        """Journal lines have new ids, and each paid order's event is at the data platform: twice, with two
        ids, where its payment was settled after the moment, and again after the restore."""
        lines = "SELECT MIN(id) FROM shop_journalline WHERE at >= FROM_UNIXTIME(%s)"
        first = int(self.rows(lines, self.lost_at)[0][0] or 0)
        if first <= self.newest_line:
            self.record([f"journal lines after the restore begin with {first}, not above {self.newest_line}"])
        events = [event for event in self.shop.events() if event["type"] == "order.paid"]
        paid = Counter[str](event["data"]["order"].replace("-", "") for event in events)
        orders = self.rows("SELECT REPLACE(id, '-', ''), status FROM orders_order")
        bought = {str(order) for order, status in orders if status in BOUGHT}
        self.record(
            f"the data platform has no event of order {order}" for order in sorted(bought - paid.keys())
        )
        twice = sum(count > 1 for count in paid.values())
        say(f"{len(paid.keys() - bought)} paid orders of the data platform are lost, {twice} came twice")

    def ask(self, call: Call, *, within_seconds: float = PATIENCE_SECONDS) -> Answer:
        return self.shop.connection.call_until_final(call, until=time.monotonic() + within_seconds)


def order_id(answer: Answer) -> str:
    return str(answer.body.get("order") or answer.body.get("id") or "")


def answered_between(setup: Setup, begin: float, end: float) -> Setup:
    """The same setup with the calls alone that were answered from `begin` on and before `end`."""

    def only(account: Account) -> Account:
        return replace(account, calls=[made for made in account.calls if begin <= made.answered_at < end])

    return replace(setup, staff=only(setup.staff), buyers=[only(account) for account in setup.buyers])


def loss(
    setup: Setup, stored: Effects, *, before: Effects, moment: float, lost_at: float
) -> tuple[int, Compared, Counter[str]]:
    """How many effects have to be there after a restore to the moment, what of them is lost, and which rows
    no answer has; and the lost effects by kind that were acknowledged after the moment."""
    spans = ((0.0, moment), (moment, lost_at), (lost_at, math.inf))
    early, forgettable, after = (effects.acknowledged(answered_between(setup, *span)) for span in spans)
    due = {kind: early[kind] | after[kind] for kind in early}
    known, there = {kind: due[kind] | forgettable[kind] for kind in due}, {"the restored database": stored}
    lost = effects.compare(due, there, before=before).lost
    doubled = effects.compare(known, there, before=before).doubled
    forgotten = Counter({kind: len(ids - stored[kind]) for kind, ids in forgettable.items()})
    return sum(map(len, due.values())), Compared(lost, doubled), +forgotten
