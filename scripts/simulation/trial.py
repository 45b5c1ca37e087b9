"""One simulated run: clients and faults for some steps, then rest, and what must hold in the end."""

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction

from coupons import campaigns
from coupons.models import Coupon
from inventory import adjustments, products
from orders import tasks
from orders.models import Order, Saga
from orders.saga import operator_actions
from payments import gateways, ledger, webhooks
from scripts.simulation.clients import Client, Shop
from scripts.simulation.determinism import chance
from scripts.simulation.outside import Gateway, Platform
from scripts.simulation.processes import Processes, join
from scripts.simulation.world import World
from shop.errors import FirstcomeError
from shop.events import data_platform, journal
from shop.management import laws
from shop.models import JournalLine

ACCOUNTS, PRODUCTS, STOCK, COUPONS, POINTS = 4, 3, 60, 3, 2_000
STEPS, MOST_STEPS_TO_SETTLE = 600, 20_000
BLANK: sqlite3.Connection = sqlite3.connect(":memory:")
"""The tables of a shop in which nothing has happened."""


@dataclass(frozen=True)
class Result:
    """What came of a run: its findings, the trace's digest, its last steps, and how much was done."""

    seed: str
    findings: list[str]
    digest: str
    last: list[str]
    steps: int
    orders: int


def prepare() -> None:
    """Make the tables once; each run begins with a copy."""
    call_command("migrate", verbosity=0)
    connection.connection.backup(BLANK)


def run(seed: str, *, steps: int = STEPS) -> Result:
    """Run one seed from the beginning."""
    connection.ensure_connection()
    BLANK.backup(connection.connection)
    chance.begin(seed)
    world, gateway, platform = World(), Gateway(), Platform()
    entry = gateways.GATEWAYS["simulator"]
    gateways.GATEWAYS["simulator"] = replace(entry, load=lambda: gateway)
    data_platform.send = platform.send
    shop = _open_shop()
    processes = Processes(world)
    join(processes)
    gateway.emit = partial(_send_webhook, processes, count())
    clients = [Client(processes, shop, account_id) for account_id in shop.accounts]
    for client in clients:
        client.begin()
    while world.steps < steps:
        world.step()
    findings = _settle(world, processes, gateway, platform, clients)
    findings += _compare(shop, gateway, platform)
    last, digest = list(world.last), world.digest
    gateways.GATEWAYS["simulator"] = entry
    return Result(seed, findings, digest, last, world.steps, len(shop.orders))


def _open_shop() -> Shop:
    accounts = [User.objects.create(username=f"account-{number}").pk for number in range(ACCOUNTS)]
    with transaction.atomic():
        ledger.bulk_open_wallets(accounts, POINTS)
    shop = Shop(accounts=accounts, products=[], campaigns=[])
    for number in range(PRODUCTS):
        product = products.create(sku=f"sku-{number}", name=f"Product {number}", price=300 + 200 * number)
        adjustments.adjust(product_id=product.pk, delta=STOCK, reason="received")
        shop.products.append(product.pk)
    terms: Any = {
        "quantity": COUPONS,
        "strategy": "pessimistic",
        "discount_type": "amount",
        "discount_value": 150,
    }
    shop.campaigns = [campaigns.create(name="Simulated", **terms).pk for _ in range(2)]
    return shop


def _send_webhook(processes: Processes, numbers: "count[int]", type: str, key: str) -> None:
    """Have the gateway's event received, perhaps late, twice, or never."""
    id = f"evt_{next(numbers)}"
    times = chance.random.choice([0, 1, 1, 2]) if processes.is_faulty else 1
    for _ in range(times):
        run = partial(processes.call, partial(_receive, processes, id, type, key))
        after = chance.random.uniform(0.01, 30.0)
        processes.world.submit(processes.clients, f"webhook {type}", run, after=after)


def _receive(processes: Processes, id: str, type: str, key: str) -> None:
    event = webhooks.receive(gateway="simulator", headers={}, body=f"{id} {type} {key}".encode())
    if event and event.handled_at is None:
        processes.enqueue(tasks.handle_webhook, event.id)


def _settle(
    world: World, processes: Processes, gateway: Gateway, platform: Platform, clients: Iterable[Client]
) -> list[str]:
    """Stop the faults and the clients, and run until nothing is open."""
    processes.is_faulty = gateway.is_faulty = platform.is_faulty = False
    for client in clients:
        client.is_done = True
    until = world.steps + MOST_STEPS_TO_SETTLE
    while world.steps < until:
        for _ in range(100):
            world.step()
        for saga_id in (
            Saga.objects.filter(state=Saga.State.STUCK).order_by("id").values_list("id", flat=True)
        ):
            with suppress(FirstcomeError):
                operator_actions.retry(saga_id=saga_id, reason="simulated", by=journal.SYSTEM)
        if not (open_now := _open()):
            return []
    return [f"not settled: {one}" for one in open_now]


def _open() -> list[str]:
    """What has not ended yet."""
    sagas = Saga.objects.filter(ended_at=None).order_by("id").values_list("id", "kind", "state")
    unpaid = Order.objects.filter(status=Order.Status.AWAITING_PAYMENT).order_by("id").values_list("id")
    lines = (
        JournalLine.objects.filter(delivery=JournalLine.Delivery.QUEUED).order_by("id").values_list("what")
    )
    return [
        f"{name} {row}"
        for name, rows in (("saga", sagas), ("order", unpaid), ("event", lines))
        for row in rows[:5]
    ]


def _compare(shop: Shop, gateway: Gateway, platform: Platform) -> list[str]:
    """The laws, what clients were answered, and the books of the outside systems."""
    findings = [f"{law.law} is broken: {law.offenders[:5]}" for law in laws.audit() if not law.holds]
    known = set(Order.objects.values_list("id", flat=True))
    findings += [f"lost: order {id}" for id in shop.orders.values() if id not in known]
    if len(known) > len(shop.orders):
        findings.append(f"{len(known) - len(shop.orders)} orders were placed of which no client knows")
    sagas = set(Saga.objects.values_list("id", flat=True))
    findings += [f"lost: saga {id}" for id in shop.sagas.values() if id not in sagas]
    codes = set(Coupon.objects.values_list("code", flat=True))
    findings += [f"lost: coupon {code}" for code in shop.coupons.values() if code not in codes]
    sent = {str(line.event_id) for line in JournalLine.objects.exclude(event_id=None)}
    if sent != set(platform.events):
        findings.append(f"events: {len(sent)} in the journal, {len(platform.events)} at the platform")
    return findings
