"""What is checked of the containers: each function does one thing to them, and raises SetupError where what
is promised is not so. What it returns says what was seen."""

import dataclasses
import json
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lab.calls import Connection, Observations, RecordedCall, Setup, await_final_answer, order_call
from lab.chaos import comparison, faults
from lab.chaos.clients import at_work, staff_and_buyers
from lab.chaos.faults import Fault
from lab.cluster.drill.load import Reader
from lab.containers.engine import BUILD_SECONDS, SHOP, Containers
from lab.shop import Shop
from scripts import smoke
from scripts.stack import SetupError, children, own_stack, places, waiting

PRODUCTS, STOCK, PLENTY, COUPONS = 6, 20_000, 1_000_000, 400
BUYERS, ACCOUNTS_EACH = 4, 6
PAID_SECONDS, WAIT_SECONDS = 90, 20
LOAD_SECONDS = 900
"""Of a load; a call that has no final answer some time after that is lost."""
LOCKED_DOWN = """
grep "^CapBnd:.0*$" /proc/1/status
grep "^CapEff:.0*$" /proc/1/status
grep "^NoNewPrivs:.1" /proc/1/status
if [ "$(id -u)" != 10001 ] || touch /app/x; then exit 1; fi
touch /tmp/y && rm /tmp/y && echo it is
"""
"""Fails unless the container is read-only, has no capability and no way to one, and is not root."""
EXIT = "inspect --format '{{.State.Status}} {{.State.ExitCode}}'"
QUEUES = "rabbitmq rabbitmqctl -q list_queues name type durable consumers"
TARGETS = (places.PROJECT / "ops" / "prometheus" / "prometheus.yml").read_text().count("job_name:")
UP = "prometheus promtool query instant http://localhost:9090 'count(up == 1)'"
SAYS: tuple[tuple[str, str, str, float], ...] = (
    ("migrate completed", "^exited 0$", f"{EXIT} firstcome-migrate-1", 0),
    *(
        (f"{one} is locked down", "it is$", f"compose exec -T {one} sh -exc '{LOCKED_DOWN}'", 0)
        for one in SHOP
    ),
    # Warnings are ignored.
    ("doctor", r"(?ms)\A(?!.*^danger).*ok {7}", "compose exec -T web python manage.py doctor", 0),
    ("the worker ran a task, by a message", r"Task orders\.advance\[.*succeeded", "compose logs worker", 60),
    (
        "the queue is durable and consumed",
        r"(?m)^celery\tquorum\ttrue\t[1-9]",
        f"compose exec -T {QUEUES}",
        60,
    ),
    ("Prometheus scrapes every target", f"=> {TARGETS} @", f"compose exec -T {UP}", 60),
)
"""Checks by what docker says at once, or within so many seconds."""
AUDIT = "exec -T web python manage.py audit --json"
CREATED_AT = "docker volume inspect --format {{.CreatedAt}} firstcome_mysql"
WAITERS, BESIDE_SECONDS = 8, 8
"""How many clients wait for an order at a stop; and how long clients buy before an update and after it."""
MIGRATION = """from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("orders", "{previous}")]
    operations = [migrations.RunSQL("DO SLEEP(5)", migrations.RunSQL.noop)]
"""
UPDATE = r"(?ms)^### An update\n\n```\n(.*?)^```$"
RESTORE = r"(?ms)^## In the containers\n(?:(?!^## ).)*?^```\n(.*?)^```$(?:(?!^## ).)*?^```\n(.*?)^```$"


def require(is_so: object, otherwise: str) -> None:
    """Raise SetupError with the words unless it is so."""
    if not is_so:
        raise SetupError(otherwise)


def documented(project: Path, page: str, section: str) -> list[list[str]]:
    """The lines of the blocks of shell in a section of a page of docs/. Raises SetupError."""
    found = re.search(section, (project / "docs" / page).read_text())
    require(found, f"docs/{page} has no such section: {section}")
    assert found
    return [block.splitlines() for block in found.groups()]


@dataclass
class Tested:
    """The shop in the containers as its clients know it: every call that was made, and every answer. The
    last account is that of single orders; the load uses the others."""

    containers: Containers
    setup: Setup
    shop: Shop

    def order(self) -> RecordedCall:
        """A new order of the last account, and its first answer. Raises SetupError for none."""
        account = self.setup.buyers[-1]
        call = order_call(account, self.setup.ample.id, card="tok_ok", wait=WAIT_SECONDS)
        connection = Connection(self.shop.instance.port, self.shop.seen, seed=call.key, impatient_share=0)
        answer = connection.call_until_final(call, until=time.monotonic() + PAID_SECONDS)
        account.calls.append(made := RecordedCall("order", call, answer))
        return made

    def until_paid(self, made: RecordedCall) -> str:
        """Repeat the order's call until it is paid; its id. Raises SetupError."""
        list(await_final_answer(made, self.shop.connection, within_seconds=PAID_SECONDS))
        is_paid = made.answer.status == 201 and made.answer.body["status"] == "paid"
        require(is_paid, f"the order was answered {made.answer.status}: {made.answer.body}")
        return str(made.answer.body["id"])

    def order_is_paid(self) -> str:
        started = time.monotonic()
        return f"order {self.until_paid(self.order())} paid in {time.monotonic() - started:.1f} s"

    def require_no_findings(self, found: Sequence[str] = ()) -> None:
        """None of these, nor an answer since the last call that no client should get. Raises SetupError.

        A call that was waited for in vain is none: the machine may do much else, and the call was repeated.
        """
        with self.shop.seen.mutex:
            new, self.shop.seen.findings = self.shop.seen.findings, []
        all_found = [*found, *(finding for finding in new if " hung for " not in finding)]
        require(not all_found, "\n".join([f"{len(all_found)} findings", *all_found[:20]]))

    def all_is_as_answered(self) -> str:
        """Wait until all is settled, then compare answers, the simulators' books and the laws."""
        self.shop.settle(self.setup)
        self.require_no_findings([*comparison.findings(self.setup, self.shop), *self.broken_laws()])
        calls = [made for account in [self.setup.staff, *self.setup.buyers] for made in account.calls]
        done = sum(made.was_done for made in calls)
        return f"{len(calls)} calls, {done} with an effect: none lost, none doubled; every law holds"

    def broken_laws(self) -> list[str]:
        """What `manage.py audit` finds broken."""
        return own_stack.broken(json.loads(self.containers.compose(AUDIT, codes=(0, 1)))["laws"])


def seed_shop(containers: Containers) -> Tested:
    """Seed accounts, products and campaigns. Raises SetupError."""
    users, tokens = BUYERS * ACCOUNTS_EACH + 1, "/tmp/tokens.json"  # noqa: S108 (the container's own)
    script = f"DEMO=1 python manage.py seed_demo --users {users} --tokens {tokens} >&2 && cat {tokens}"
    known = json.loads(containers.compose("exec -T web sh -c", script))
    shop = Shop(containers.instance, known["staff"], Observations())
    setup = shop.stocked(known, "Container", products=PRODUCTS, on_hand=STOCK, plenty=PLENTY)
    setup.campaigns = [shop.create_campaign("Container", quantity=COUPONS) for _ in range(2)]
    return Tested(containers, setup, shop)


@contextmanager
def load(tested: Tested, seed: str) -> Iterator[None]:
    """Clients that buy, refund and read inside the block, each to the final answer of its last call. Raises
    SetupError afterwards for one without it, and for an answer that no client should get."""
    setup = dataclasses.replace(tested.setup, buyers=tested.setup.buyers[:-1])
    common: dict[str, Any] = {"port": tested.shop.instance.port, "seen": tested.shop.seen}
    common |= {"seed": f"containers {seed}", "ends_at": time.monotonic() + LOAD_SECONDS}
    clients = [*staff_and_buyers(setup, count=BUYERS, **common), Reader(setup, **common)]
    with at_work(clients):
        try:
            yield
        except BaseException:
            # Nothing is judged any more, so no call has to be repeated to its final answer.
            for client in clients:
                client.until = 0.0
            raise
    tested.require_no_findings()


def says(containers: Containers, pattern: str, command: str, within_seconds: float) -> None:
    """Wait until docker says something like it. Raises SetupError with what it says."""
    said = lambda: containers.run("docker", *shlex.split(command), codes=(0, 1))  # noqa: E731
    if waiting.left(lambda: not re.search(pattern, said()), within_seconds=within_seconds, pause_seconds=1):
        raise SetupError(f"`docker {command}` says {said()[-800:]}")


def comes_back(tested: Tested, service: str) -> str:
    """After kill -9 the service is started again by the engine, all are healthy again, and an order is
    paid."""
    containers, started = tested.containers, time.monotonic()
    asked = ("docker", "inspect", "--format", "{{.State.Pid}}", f"firstcome-{service}-1")
    pid = lambda: containers.run(*asked)  # noqa: E731
    # To the engine, in whose count that is, it ended by itself.
    old = pid()
    containers.run("sh", "-c", f"kill -9 {old}")
    late = "it was not started again in 60 s"
    waiting.until(lambda: pid() not in ("0", old), late, within_seconds=60)
    containers.wait_until_healthy()
    return f"healthy after {time.monotonic() - started:.1f} s, {tested.order_is_paid()}"


def change_source(folder: Path) -> None:
    """Change a module of the shop, by which the new containers are known, and add a migration that takes some
    seconds."""
    with (folder / "shop" / "__init__.py").open("a") as module:
        module.write("UPDATED = True\n")
    migrations = folder / "orders" / "migrations"
    newest = max(path.stem for path in migrations.glob("[0-9]*.py"))
    text = MIGRATION.format(previous=newest)
    (migrations / f"{int(newest[:4]) + 1:04}_an_update.py").write_text(text)


def update(tested: Tested) -> str:
    """Do what docs/operations.md says while clients buy, and wait until all is healthy; says how many of
    their requests were answered meanwhile, and how long none was."""
    containers, took = tested.containers, list[str]()
    requests = tested.shop.seen.requests
    before = len(requests)
    change_source(containers.folder)
    time.sleep(BESIDE_SECONDS)
    for line in documented(containers.folder, "operations.md", UPDATE)[0]:
        started = time.monotonic()
        containers.run(*line.split(), within_seconds=BUILD_SECONDS)
        took.append(f"{line} {time.monotonic() - started:.1f} s")
    containers.wait_until_healthy()
    for service in SHOP:
        script = "import shop; print(shop.UPDATED)"
        printed = containers.compose(f"exec -T {service} python -c", script)
        require(printed == "True", f"{service} still has the old source: {printed}")
    containers.compose("exec -T web python manage.py migrate --check")
    time.sleep(BESIDE_SECONDS)
    made = requests[before:]
    refused = sum(one.result == "no answer" for one in made)
    unavailable = sum(one.result.startswith("5") for one in made)
    served = sorted(one.ended for one in made if one.is_good)
    longest = max((after - before for before, after in pairwise(served)), default=0.0)
    return (
        f"{', '.join(took)}; {len(served)} requests got a final answer; {refused} attempts got no answer and"
        f" {unavailable} a 5xx, and were repeated; none was answered for {longest:.1f} s at most"
    )


def stops_in_time(containers: Containers, service: str) -> str:
    """The service ends by itself, with exit code 0: after its `stop_grace_period` it would be killed."""
    started = time.monotonic()
    containers.compose(f"stop {service}")
    seconds = time.monotonic() - started
    state = containers.run("docker", *shlex.split(EXIT), f"firstcome-{service}-1")
    require(state == "exited 0", f"{service} is {state} after {seconds:.1f} s")
    return f"{seconds:.1f} s"


def stops_while_clients_wait(tested: Tested, service: str) -> str:
    """The same while clients wait by `Prefer: wait`: each is answered, and its order is paid in the end."""
    containers, statuses = tested.containers, tested.shop.seen.statuses
    placed = lambda: len(tested.shop.orders(tested.setup.buyers[-1]))  # noqa: E731
    wanted, before = placed() + WAITERS, statuses.copy()
    slow_gateway = faults.lasting(Fault("slow", "gateway", 0), containers.instance)
    with slow_gateway, ThreadPoolExecutor(WAITERS) as threads:
        sending = [threads.submit(tested.order) for _ in range(WAITERS)]
        few = f"the customer has less than {wanted} orders"
        waiting.until(lambda: placed() >= wanted, few, within_seconds=30)
        took = stops_in_time(containers, service)
        orders = [one.result() for one in sending]
    # None had to be repeated. The lists of orders are 200.
    answered = statuses - before
    require(answered.keys() <= {"200", "201", "202"}, f"waiting clients were answered {dict(answered)}")
    kinds = Counter(made.answer.word for made in orders)
    containers.up()
    containers.wait_until_healthy()
    for made in orders:
        tested.until_paid(made)
    counts = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    return f"{took}; waiting clients were answered {counts}, and all {WAITERS} orders are paid"


def session_works(containers: Containers) -> str:
    """The README's session, pasted twice: the second time nothing new happens."""
    text, manage = smoke.session(containers.instance), "make manage ARGS=audit\n"
    require(manage in text, f"the README's session has no line {manage!r}")
    # docs/operations.md says how it is written for containers. `exec` reads no input: a shell that reads its
    # lines from there would lose them.
    words = containers.command("docker", "compose", "exec", "-T", "web", "python", "manage.py", "audit")
    audit = " ".join(f"'{word}'" for word in words)
    lines = ["sh", "-euc", text.replace(manage, f"{audit} < /dev/null\n")]
    return smoke.paste_session_twice(lambda: children.run(lines, within_seconds=180))


def back_up(containers: Containers) -> str:
    """Back up the database while the shop runs, as docs/howto/restore-a-backup.md says."""
    backing_up, _ = documented(containers.folder, "howto/restore-a-backup.md", RESTORE)
    printed = [containers.run("sh", "-ec", line, within_seconds=BUILD_SECONDS) for line in backing_up]
    return next(iter(re.findall(r"(?m)^.*tables.*$", printed[-1])), printed[-1])


def lose_and_restore(tested: Tested) -> str:
    """Lose the database's volume, restore the backup into a new one; then every law holds.

    Orders that were paid after the backup are lost, and their charges are refunded.
    """
    containers = tested.containers
    orders = lambda: {order["id"] for order in tested.shop.everything("/orders")}  # noqa: E731
    created_at = lambda: containers.run(*CREATED_AT.split())  # noqa: E731
    known, later, old = orders(), tested.until_paid(tested.order()), created_at()
    _, restoring = documented(containers.folder, "howto/restore-a-backup.md", RESTORE)
    started = time.monotonic()
    printed = [containers.run("sh", "-ec", line, within_seconds=BUILD_SECONDS) for line in restoring]
    seconds = time.monotonic() - started
    require(created_at() != old, "MySQL's volume is still the old one")
    containers.wait_until_healthy()
    require(orders() == known, f"{len(orders() ^ known)} orders differ from those at the backup")
    charges = tested.shop.gateway(f"/charges?order={later}")["results"]
    kept = sum(charge["amount"] - charge["refunded_amount"] for charge in charges)
    require(charges and kept == 0, f"the lost order's charges are not refunded: {charges}")
    require("Every law holds." in "\n".join(printed), f"the guide's commands printed: {printed[-3:]}")
    found = tested.broken_laws()
    require(not found, "\n".join(found))
    return f"{len(known)} orders, in {seconds:.1f} s; the later one's charge is refunded; every law holds"
