"""Rows that no single load measures: tables that fill, calls by a key, events, viewers of the board, an idle
second, the audit, memory."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median

from lab import stage as stages
from lab.bench import connections, filling, loads
from lab.bench.rows import Measured
from lab.bench.stage import Stage
from lab.load import ratio
from lab.stack import database
from lab.stage import wait_until
from scripts.stack import children, own_stack

COUPONS = "SELECT COUNT(*) FROM coupons_coupon"
USED = "SHOW GLOBAL STATUS WHERE Variable_name = 'Max_used_connections'"
ALLOWED = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'max_connections'"
FEED_SECONDS, AUDIT_SECONDS, IDLE_SECONDS = 180, 1_800, 5
USERS_OF_AN_EVENT = 8
"""The feed is measured with an event for so many accounts: 5,000 in a full run."""
# In this order for more, and from the last for less: the capacity may not exceed its maximum.
WRITE_ALL = {
    "innodb_io_capacity_max": 20_000,
    "innodb_io_capacity": 20_000,
    "innodb_max_dirty_pages_pct": 0,
}
UNWRITTEN = "SHOW GLOBAL STATUS WHERE Variable_name = 'Innodb_buffer_pool_pages_dirty'"
FEW_PAGES, WRITE_SECONDS = 200, 60

OPERATORS, OF_OPERATOR = 8, 6
"""Accounts that view the board, and the pages of each."""
SETTLING_SECONDS, EVERY_SECONDS, SIGN_IN_SECONDS = 3.0, 1.0, 60
"""What pages take when they are opened is over after the first of these; a page asks once in the second."""
FIGURES, MARK = "/admin/board/figures/?since=99999999999", b'{"snapshot":'
SIGN_IN = """
import json, sys
import django
django.setup()
from django.contrib.auth.models import User
from django.test import Client

clients = [Client() for _ in range(int(sys.argv[1]))]
for number, client in enumerate(clients):
    client.force_login(User.objects.create_superuser(f"bench-operator-{number}"))
print(json.dumps([client.cookies["sessionid"].value for client in clients]))
"""


def growth(stage: Stage) -> Iterator[Measured]:
    """Fill the tables step by step, and measure coupons at each. Shares of null are compared, because the
    machine is quicker in one half hour than in the next."""
    steps, findings = [], list[str]()
    for coupons in (0, *stage.size.tables):
        stages.say(f"coupons with {max(coupons, stage.number(COUPONS)):,} in the table …")
        if coupons:
            orders = stage.size.filled_orders if coupons == stage.size.tables[-1] else 0
            fill(stage, coupons=max(coupons - stage.number(COUPONS), 0), orders=orders)
        runs = stage.beside_null([partial(loads.coupons, stage)], partial(loads.null, stage))
        mine = [run for run in runs if run.row == "coupon"]
        findings += [finding for run in mine for finding in run.findings]
        names = ("per_second", "p95_ms", "of_null", "processor_us")
        medians = {name: median(run.figures[name] for run in mine) for name in names}
        steps.append({"coupons": stage.number(COUPONS), **medians})
    first, last = steps[0], steps[-1]
    figures = {**last, "of_empty": ratio(last["of_null"], first["of_null"])}
    says = f"beside {first['coupons']:,.0f}, with {first['processor_us']:.0f} µs of processor a coupon"
    yield Measured(row="growth", figures=figures, findings=findings, says=says, steps=steps)


def fill(stage: Stage, *, coupons: int, orders: int) -> None:
    """Fill the tables, and have the server write the pages that this left in its memory: the tables' size is
    measured, and not the end of a bulk load."""
    filling.fill(stage.instance, coupons=coupons, orders=orders)
    with _written_at_once(stage):
        wait_until(lambda: stage.number(UNWRITTEN) <= FEW_PAGES, within_seconds=WRITE_SECONDS)


@contextmanager
def _written_at_once(stage: Stage) -> Iterator[None]:
    [before] = stage.rows(f"SELECT {', '.join(f'@@GLOBAL.{name}' for name in WRITE_ALL)}")
    try:
        for name, value in WRITE_ALL.items():
            stage.rows(f"SET GLOBAL {name} = %s", value)
        yield
    finally:
        for name, value in reversed([*zip(WRITE_ALL, before, strict=True)]):
            stage.rows(f"SET GLOBAL {name} = %s", value)


def by_key(stage: Stage) -> Iterator[Measured]:
    """Null calls by an API key of the staff, between null calls by their token."""
    made = stage.call("POST", "/api-keys", {"name": "Bench", "scopes": ["coupons:write"]})
    by_token = stage.tokens_of([{"access": stage.token}], "token")
    by_key = stage.tokens_of([{"access": made["secret"]}], "key")
    call = partial(stage.measure, "null_key", "null", CAMPAIGN=1, TOKENS=by_key, AGAIN=1)
    return stage.beside_null([call], partial(loads.null, stage, TOKENS=by_token, AGAIN=1))


def feed(stage: Stage) -> Iterator[Measured]:
    """What an event costs until it has its position, and webhooks a second to one endpoint."""
    number = stage.size.users // USERS_OF_AN_EVENT
    command, own = [sys.executable, "-m", "lab.bench.feed", str(number)], stage.environment
    ran = children.run(command, within_seconds=FEED_SECONDS, environment=own)
    found = json.loads(children.printed(ran))
    yield Measured(row="events", figures=found["events"])
    delivered, error = found["webhooks"].pop("delivered"), found["webhooks"].pop("error")
    lost = f"webhooks: {delivered} of {number} events were delivered: {error}"
    yield Measured(row="webhooks", figures=found["webhooks"], findings=[lost] if delivered < number else [])


def board(stage: Stage) -> Iterator[Measured]:
    """The processor time of viewers beyond one for each operator, who make both web processes read."""
    command, own = [sys.executable, "-c", SIGN_IN, str(OPERATORS)], stage.environment
    ran = children.run(command, within_seconds=SIGN_IN_SECONDS, environment=own)
    sessions = json.loads(children.printed(ran).splitlines()[-1])
    requests = [connections.request(FIGURES, method="GET", Cookie=f"sessionid={key}") for key in sessions]
    few, _ = asyncio.run(_watch(stage, requests))
    many, snapshots = asyncio.run(_watch(stage, requests * OF_OPERATOR))
    unserved = f"board: {snapshots.count(0)} of {len(snapshots)} viewers got no snapshots"
    yield Measured(
        row="board",
        figures={"viewers_cores": many - few},
        findings=[unserved] if 0 in snapshots else [],
        says=f"{len(snapshots) - len(requests)} beside {len(requests)}, with whom web takes {few:.3f} cores",
    )


async def _watch(stage: Stage, requests: Sequence[bytes]) -> tuple[float, list[int]]:
    """How much of a core web processes take while these pages are open, and the snapshots of each."""
    snapshots = [0] * len(requests)

    async def view(index: int, streams: connections.Streams) -> None:
        while True:
            snapshots[index] += MARK in (await connections.ask(streams, requests[index])).body
            await asyncio.sleep(EVERY_SECONDS)

    opened = await connections.open_all(stage.instance.port, len(requests))
    viewers = [asyncio.ensure_future(view(index, one)) for index, one in enumerate(opened)]
    await asyncio.sleep(SETTLING_SECONDS)
    earlier, began_at = list(snapshots), time.monotonic()
    before = stages.spent(stage.instance)["web"]
    await asyncio.sleep(stage.size.crowd_seconds)
    cores = (stages.spent(stage.instance)["web"] - before) / (time.monotonic() - began_at)
    for viewer in viewers:
        viewer.cancel()
    return cores, [now - had for now, had in zip(snapshots, earlier, strict=True)]


def idle(stage: Stage) -> Iterator[Measured]:
    """What each process takes while nobody calls, once the worker has nothing left."""
    database.wait_until_worked_off(stage.instance)
    before = stages.spent(stage.instance)
    time.sleep(IDLE_SECONDS)
    after = stages.spent(stage.instance)
    cores = {f"{name}_cores": (after[name] - before[name]) / IDLE_SECONDS for name in after}
    yield Measured(row="idle", figures={"cores": sum(cores.values()), **cores})


def audit(stage: Stage) -> Iterator[Measured]:
    """Every law over all that was made, as an operator would audit it; a broken one is a finding."""
    coupons, orders = stage.number(COUPONS), stage.number(loads.ORDERS)
    command, began_at, peak = [sys.executable, "manage.py", "audit", "--json"], time.monotonic(), 0.0
    child = children.start(command, environment=stage.environment, log=stage.instance.home / "audit.json")
    try:
        while child.poll() is None and time.monotonic() < began_at + AUDIT_SECONDS:
            peak = max(peak, stages.peak_mib([child.pid]))
            time.sleep(0.05)
    finally:
        children.stop(child)
    seconds, printed = time.monotonic() - began_at, (stage.instance.home / "audit.json").read_text()
    laws = json.loads(printed[printed.index("{") :])["laws"]
    yield Measured(
        row="audit",
        figures={"seconds": seconds, "command_mib": peak, "coupons": coupons, "orders": orders},
        findings=own_stack.broken(laws),
        says=f"{sum(law['holds'] for law in laws)} of {len(laws)} laws hold",
    )


def memory(stage: Stage) -> Iterator[Measured]:
    """The peak of web processes and connections since the stack was started: no row restarts one."""
    used, allowed = stage.number(USED), stage.number(ALLOWED)
    peak = stages.peak_mib(stages.processes(stage.instance, "web"))
    figures = {"peak_mib": peak, "connections_share": used / allowed}
    yield Measured(row="memory", figures=figures, says=f"{used} of {allowed} connections to the database")
