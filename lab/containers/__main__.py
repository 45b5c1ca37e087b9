"""`make test-containers`: images and compose file on a real Docker engine, and what is promised of them.

Each check does one thing to the containers, raises SetupError where what is promised is not so, and returns
what was seen. Exit code 1 when one failed, 2 when this machine can't run it, 130 after Ctrl-C.
"""

import dataclasses
import fcntl
import json
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from lab.calls import Observations, RecordedCall, await_final_answer, order_call
from lab.chaos import comparison, faults
from lab.chaos.clients import Work, at_work, staff_and_buyers
from lab.chaos.faults import Fault
from lab.cluster.drill.load import STOCKED, Reader
from lab.containers import engine
from lab.containers.engine import LEFT_OUT, SHOP, STORES, Containers
from lab.shop import Shop
from scripts import options
from scripts.stack import Lines, SetupError, Words, children, own_stack, places, ports, require, waiting
from scripts.stack.children import say
from scripts.stack.instance import Instance
from scripts.stack.system_packages import Root

NAME = "test-containers"
Row = tuple[str, Callable[..., object], *tuple[str, ...]]
COUPONS = 400
BUYERS = 4
ACCOUNTS_EACH = 6
PAID_SECONDS = 90
WAIT_SECONDS = 20
SAID_SECONDS = 60
LOAD_SECONDS = 900  # Of a load; a call that has no final answer some time after that is lost
# How many clients wait for an order at a stop; and how long clients buy before an update and after it.
WAITERS = 8
BESIDE_SECONDS = 8
TOKENS = "/tmp/tokens.json"  # noqa: S108 (the container's own)
AUDIT = "docker compose exec -T web python manage.py audit --json"
TARGETS = (places.PROJECT / "ops/prometheus/prometheus.yml").read_text().count("job_name:")
UP = "compose exec -T prometheus promtool query instant http://localhost:9090 'count(up == 1)'"
UPDATE = r"(?ms)^## The commands\n\n```\n(.*?)^```$"
RESTORE = r"(?ms)^## In the containers\n(?:(?!^## ).)*?^```\n(.*?)^```$(?:(?!^## ).)*?^```\n(.*?)^```$"


def documented(project: Path, page: str, section: str) -> list[Words]:
    """The lines of the blocks of shell in a section of a page of docs/. Raises SetupError."""
    found = re.search(section, (project / "docs" / page).read_text())
    if not found:
        raise SetupError(f"docs/{page} has no such section: {section}")
    return [block.splitlines() for block in found.groups()]


def change_source(folder: Path) -> None:
    """Change a module of the shop, by which the new containers are known, and add a migration that takes some
    seconds."""
    with (folder / "shop/__init__.py").open("a") as module:
        module.write("UPDATED = True\n")
    migrations = folder / "orders/migrations"
    newest = max(path.stem for path in migrations.glob("[0-9]*.py"))
    text = (engine.HERE / "update_migration.py.txt").read_text().format(previous=newest)
    (migrations / f"{int(newest[:4]) + 1:04}_an_update.py").write_text(text)


class Tested:
    """The shop in the containers as its clients know it: every call that was made, and every answer. The
    last account is that of single orders; the load uses the others."""

    def __init__(self, containers: Containers) -> None:
        """Seed accounts, products and campaigns. Raises SetupError."""
        self.containers = containers
        self.docker = containers.docker
        self.instance = containers.instance
        seed = f"DEMO=1 python manage.py seed_demo --users {BUYERS * ACCOUNTS_EACH + 1} --tokens {TOKENS}"
        known = json.loads(self.inside("web sh -c", f"{seed} >&2 && cat {TOKENS}"))
        self.shop = Shop(self.instance, known["staff"], Observations())
        self.setup = self.shop.stocked(known, "Container", **STOCKED)
        self.setup.campaigns = [self.shop.create_campaign("Container", quantity=COUPONS) for _ in range(2)]

    def inside(self, words: str, *more: str) -> str:
        """What a command in the container of a service prints. Raises SetupError."""
        return self.docker(f"compose exec -T {words}", *more)

    def paste(self, lines: Iterable[str]) -> str:
        """What shell lines print in the project's folder. Raises SetupError where one fails."""
        return self.containers.run("sh", "-ec", "\n".join(lines))

    def order(self) -> RecordedCall:
        """A new order of the last account, and its first answer. Raises SetupError for none."""
        account = self.setup.buyers[-1]
        call = order_call(account, self.setup.ample.id, card="tok_ok", wait=WAIT_SECONDS)
        # With a connection of its own, because several are placed at once.
        shop = Shop(self.instance, self.shop.token, self.shop.seen)
        return shop.make(account, "order", call, within_seconds=PAID_SECONDS)

    def until_paid(self, made: RecordedCall) -> str:
        """Repeat the order's call until it is paid; its id. Raises SetupError."""
        await_final_answer(made, self.shop.connection, within_seconds=PAID_SECONDS)
        is_paid = made.answer.status == 201 and made.answer.body["status"] == "paid"
        require(is_paid, f"the order was answered {made.answer.status}: {made.answer.body}")
        return str(made.answer.body["id"])

    def order_is_paid(self) -> str:
        return f"order {self.until_paid(self.order())}"

    def require_no_findings(self, found: Iterable[str] = ()) -> None:
        """None of these, nor an answer since the last call that no client should get. Raises SetupError.

        A call that was waited for in vain is none: the machine may do much else, and the call was repeated.
        """
        with self.shop.seen.mutex:
            new = self.shop.seen.findings
            self.shop.seen.findings = []
        all_found = [*found, *(finding for finding in new if " hung for " not in finding)]
        require(not all_found, "\n".join([f"{len(all_found)} findings", *all_found[:20]]))

    def all_is_as_answered(self) -> str:
        """Wait until all is settled, then compare answers, the simulators' books and the laws."""
        self.shop.settle(self.setup)
        self.require_no_findings([*comparison.findings(self.setup, self.shop), *self.broken_laws()])
        calls = self.setup.calls
        done = sum(made.was_done for made in calls)
        return f"{len(calls)} calls, {done} with an effect: none lost, none doubled; every law holds"

    def broken_laws(self) -> Lines:
        return own_stack.broken(json.loads(self.containers.run(*AUDIT.split(), codes=(0, 1)))["laws"])

    @contextmanager
    def load(self, seed: str) -> Iterator[None]:
        """Clients that buy, refund and read inside the block, each to the final answer of its last call.
        Raises SetupError afterwards for one without it, and for an answer that no client should get."""
        setup = dataclasses.replace(self.setup, buyers=self.setup.buyers[:-1])
        work = Work(setup, self.instance.port, self.shop.seen, time.monotonic() + LOAD_SECONDS)
        seed = f"containers {seed}"
        with at_work([*staff_and_buyers(work, count=BUYERS, seed=seed), Reader(work, seed)]):
            yield
        self.require_no_findings()

    def says(self, pattern: str, words: str) -> None:
        """Wait until docker says something like it. Raises SetupError with what it says."""
        said = lambda: self.containers.run("docker", *shlex.split(words), codes=(0, 1))  # noqa: E731
        late = lambda: not re.search(pattern, said())  # noqa: E731
        if waiting.left(late, within_seconds=SAID_SECONDS, pause_seconds=1):
            raise SetupError(f"`docker {words}` says {said()[-800:]}")

    def comes_back(self, service: str) -> str:
        """After kill -9 the service is started again by the engine, all are healthy again, and an order is
        paid."""
        pid = partial(self.docker, f"inspect --format {{{{.State.Pid}}}} firstcome-{service}-1")
        old = pid()
        # To the engine, in whose count that is, it ended by itself.
        self.containers.run("sh", "-c", f"kill -9 {old}")
        waiting.until(
            lambda: pid() not in ("0", old), "it was not started again", within_seconds=SAID_SECONDS
        )
        self.containers.wait_until_healthy()
        return self.order_is_paid()

    def update(self) -> None:
        """Do what docs/operations.md says while clients buy, and wait until all is healthy."""
        change_source(self.containers.folder)
        time.sleep(BESIDE_SECONDS)
        self.paste(documented(self.containers.folder, "upgrading.md", UPDATE)[0])
        self.containers.wait_until_healthy()
        for service in SHOP:
            printed = self.inside(f"{service} python -c", "import shop; print(shop.UPDATED)")
            require(printed == "True", f"{service} still has the old source: {printed}")
        self.inside("web python manage.py migrate --check")
        time.sleep(BESIDE_SECONDS)

    def stops_in_time(self, service: str) -> None:
        """The service ends by itself, with exit code 0: after its `stop_grace_period` it would be killed."""
        self.docker(f"compose stop {service}")
        state = self.docker(
            "inspect --format", "{{.State.Status}} {{.State.ExitCode}}", f"firstcome-{service}-1"
        )
        require(state == "exited 0", f"{service} is {state}")

    def stops_while_clients_wait(self, service: str) -> str:
        """The same while clients wait by `Prefer: wait`: each is answered, and its order paid in the end."""
        placed = lambda: len(self.shop.orders(self.setup.buyers[-1]))  # noqa: E731
        wanted = placed() + WAITERS
        before = self.shop.seen.statuses.copy()
        slow_gateway = faults.lasting(Fault("slow", "gateway", 0), self.instance)
        with slow_gateway, ThreadPoolExecutor(WAITERS) as threads:
            sending = [threads.submit(self.order) for _ in range(WAITERS)]
            waiting.until(
                lambda: placed() >= wanted, f"the customer has less than {wanted} orders", within_seconds=30
            )
            self.stops_in_time(service)
            orders = [one.result() for one in sending]
        # None had to be repeated. The lists of orders are 200.
        answered = self.shop.seen.statuses - before
        require(answered.keys() <= {"200", "201", "202"}, f"waiting clients were answered {dict(answered)}")
        self.docker("compose up --detach")
        self.containers.wait_until_healthy()
        for made in orders:
            self.until_paid(made)
        return f"waiting clients were answered {dict(answered)}, and all {WAITERS} orders are paid"

    def back_up(self) -> str:
        """Back up the database while the shop runs, as docs/howto/restore-a-backup.md says."""
        return self.paste(documented(self.containers.folder, "howto/restore-a-backup.md", RESTORE)[0])[-200:]

    def lose_and_restore(self) -> str:
        """Lose the database's volume, restore the backup into a new one; then every law holds.

        Orders that were paid after the backup are lost, and their charges are refunded.
        """
        orders = lambda: {order["id"] for order in self.shop.everything("/orders")}  # noqa: E731
        made_at = partial(self.docker, "volume inspect --format {{.CreatedAt}} firstcome_mysql")
        known = orders()
        later = self.until_paid(self.order())
        old = made_at()
        printed = self.paste(documented(self.containers.folder, "howto/restore-a-backup.md", RESTORE)[1])
        require(made_at() != old, "MySQL's volume is still the old one")
        self.containers.wait_until_healthy()
        require(orders() == known, f"{len(orders() ^ known)} orders differ from those at the backup")
        charges = self.shop.gateway(f"/charges?order={later}")["results"]
        kept = sum(charge["amount"] - charge["refunded_amount"] for charge in charges)
        require(charges and kept == 0, f"the lost order's charges are not refunded: {charges}")
        require("Every law holds." in printed, f"the guide's commands printed: {printed[-800:]}")
        self.require_no_findings(self.broken_laws())
        return f"{len(known)} orders; the later one's charge is refunded; every law holds"


def main() -> int:
    """Run all checks in an engine of their own; the exit code. Raises SetupError."""
    keep = "1: leave everything up after the checks, until Ctrl-C"
    is_kept = options.read(f"make {NAME}", flags=["keep"], keep=keep).keep
    home = places.PROJECT / "var/containers"
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(Root.require, engine.ROOTS.values()))
    except SetupError as error:
        # `make verify` knows by this line that it is no failure.
        say(f"{NAME}: NOT RUN: {str(error).partition(chr(10))[0]}")
        return 2
    started = time.monotonic()
    failed = Lines()
    number = 0
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{NAME}: NOT RUN: another run has {lock.name}")
        return 2
    shutil.rmtree(home / "shared", ignore_errors=True)
    instance = Instance(home=home, port=ports.free(len(engine.PORTS)), database="mysql")
    engine.copy_project(home / "shared/project", instance)
    with engine.running(home, home / "shared/project", instance) as containers:
        say("\n".join(f"left out: {service}, {reason}" for service, reason in LEFT_OUT.items()))
        for name, act, *arguments in plan(containers, failed):
            number += 1
            began = time.monotonic()
            word = "ok"
            try:
                what = str(act(*arguments) or "")
            except (SetupError, OSError) as error:
                what = str(error) or repr(error)
                word = "FAIL"
                failed.append(f"{name}: {what}")
            what = what.replace("\n", "\n            ")
            say(f"{word:4} {time.monotonic() - began:6.1f} s  {name}: {what}")
        if is_kept:
            say(f"{instance.url} is kept up (KEEP=1). Ctrl-C stops everything.")
            signal.pause()
    minutes = (time.monotonic() - started) / 60
    say("\n".join([f"{NAME}: {number} checks in {minutes:.1f} min, {len(failed)} failed", *failed]))
    if failed:
        return 1
    return 0


def plan(containers: Containers, failed: Words) -> Iterator[Row]:
    """Every check in order: its name, what it calls, and with what."""
    up = ("docker compose up --detach", containers.docker, "compose up --detach")
    healthy = ("all services are healthy", containers.wait_until_healthy)
    yield "images of the servers, from Debian's packages", containers.make_images
    yield "docker compose build", containers.docker, "compose build"
    yield up
    yield healthy
    if failed:
        return  # Without a shop that is up there is nothing more to check.
    tested = Tested(containers)
    yield "an order is paid", tested.order_is_paid
    for name, check in engine.CHECKS.items():
        yield name, tested.says, check.pattern, check.words
    for one in SHOP:
        script = shlex.quote((engine.HERE / "locked_down.sh").read_text())
        yield f"{one} is locked down", tested.says, "it is$", f"compose exec -T {one} sh -exc {script}"
    yield "Prometheus scrapes every target", tested.says, f"=> {TARGETS} @", UP
    broken: dict[str, list[Row]] = {
        "kills": [(f"kill -9 of {one}", tested.comes_back, one) for one in (*SHOP, *STORES)],
        "update": [("the documented update", tested.update)],
    }
    for beside, rows in broken.items():
        with ExitStack() as selling:
            selling.enter_context(tested.load(beside))
            yield from rows
            yield f"each request beside the {beside} got a final answer", selling.close
        yield f"after the {beside} nothing is lost or doubled", tested.all_is_as_answered
    for one in SHOP:
        yield f"docker compose stop {one}, while clients wait", tested.stops_while_clients_wait, one
    for one in STORES:
        yield f"docker compose stop {one}", tested.stops_in_time, one
    yield up
    yield healthy
    yield "after the stops nothing is lost or doubled", tested.all_is_as_answered
    # Last, because it loses what came after the backup.
    yield "a backup while the shop runs", tested.back_up
    yield "MySQL's volume is lost, and restored", tested.lose_and_restore
    yield "an order is paid after the restore", tested.order_is_paid


if __name__ == "__main__":
    children.end_with(main, NAME)
