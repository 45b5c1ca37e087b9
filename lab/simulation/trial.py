"""One simulated run: clients and faults for some steps, then rest, and what must hold in the end."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction

from coupons import partners
from coupons.issuing import issuing
from coupons.partners import confirmation
from events.models import WebhookEndpoint
from events.webhooks import data_platform, sending
from inventory import adjustments, products
from lab.simulation import faults, findings, offers
from lab.simulation.chance import chance
from lab.simulation.clients import Client, CouponClient, Shop
from lab.simulation.operators import Operator
from lab.simulation.outside import Gateway, Partner, Receiver
from lab.simulation.processes import Processes
from orders.models import Saga
from orders.saga import operator_actions
from payments import gateways, ledger
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from sales import terms
from shop import clock
from shop.errors import FirstcomeError
from shop.journal import journal

BUYERS, ACCOUNTS, STOCK, POINTS = 4, 10, 60, 2_000
OPERATORS = ("ada", "bob")
PRICES = 300, 500, 700, 900
"""Of the products; the last one is that of a sale, which opens soon and admits few in a minute."""
SALE_OPENS_SECONDS, SALE_RATE = 5, 2
STEPS, MOST_STEPS_TO_SETTLE = 600, 8_000
BLANK = sqlite3.connect(":memory:")
"""The tables of a shop in which nothing has happened."""


@dataclass(frozen=True)
class Result:
    """What came of a run: its findings, the trace's digest, its last steps, and how much was done."""

    findings: list[str]
    digest: str
    last: list[str]
    steps: int
    orders: int


def prepare() -> None:
    """Make the tables once; each run begins with a copy."""
    call_command("migrate", verbosity=0)
    connection.connection.backup(BLANK)
    faults.install()


def run(seed: str) -> Result:
    """Run one seed from the beginning."""
    connection.ensure_connection()
    BLANK.backup(connection.connection)
    chance.begin(seed)
    processes = Processes()
    gateway, partner, platform, program = Gateway(processes), Partner(processes), Receiver(), Receiver()
    gateways.GATEWAYS["simulator"] = replace(gateways.GATEWAYS["simulator"], load=lambda: gateway)
    partners.PARTNERS[offers.PARTNER] = lambda: partner
    data_platform.send, sending.send = platform.send, program.send_one
    shop = _open_shop()
    issuing.forget()
    confirmation.reset()
    processes.start()
    staff = [User.objects.create(username=name, is_staff=True, is_superuser=True) for name in OPERATORS]
    shop.operators += [user.pk for user in staff]
    WebhookEndpoint.objects.create(
        url="http://127.0.0.1:1/",
        secret="not read",  # noqa: S106
        events=["order.*"],
        owner_id=staff[0].pk,
        created_at=clock.now(),
    )
    buyers, others = shop.accounts[:BUYERS], shop.accounts[BUYERS:]
    clients = [
        *(Client(processes, shop, account_id) for account_id in buyers),
        *(CouponClient(processes, shop, account_id) for account_id in others),
        *(Operator(processes, shop, user) for user in staff),
    ]
    for client in clients:
        client.begin()
    while processes.world.steps < STEPS:
        processes.world.step()
    found = [f"not settled: {one}" for one in _settle(processes, gateway, clients)]
    found += findings.of_run(shop, gateway, partner, platform, program)
    world = processes.world
    return Result(found, world.trace.hexdigest(), list(world.last), world.steps, len(shop.orders))


def _open_shop() -> Shop:
    """Accounts with points, products, a sale whose admissions last for the run, and campaigns."""
    accounts = [User.objects.create(username=f"account-{number}").pk for number in range(ACCOUNTS)]
    with transaction.atomic():
        ledger.bulk_open_wallets(accounts, POINTS)
    prices = {}
    for number, price in enumerate(PRICES):
        product = products.create(sku=f"sku-{number}", name=f"Product {number}", price=price)
        adjustments.adjust(product_id=product.pk, delta=STOCK, reason="received")
        prices[product.pk] = price
    first, *_, last = prices
    sale = terms.create(
        product_ids=[last],
        name="Simulated",
        opens_at=clock.now() + timedelta(seconds=SALE_OPENS_SECONDS),
        closes_at=clock.now() + timedelta(days=30),
        admission="queue",
        rate_per_minute=SALE_RATE,
        admitted_for_seconds=7 * 24 * 3_600,
    )
    campaigns = dict(offers.open_campaign(given, accounts, first) for given in offers.CAMPAIGNS)
    return Shop(accounts, [], prices, campaigns, sale.pk, last)


def _settle(processes: Processes, gateway: Gateway, clients: Sequence[Client]) -> list[str]:
    """Stop the faults and the clients, and run until nothing is open; what is so after many steps."""
    processes.end_faults()
    for client in clients:
        client.is_done = True
    world = processes.world
    until, open_now = world.steps + MOST_STEPS_TO_SETTLE, list[str]()
    while world.steps < until:
        for _ in range(100):
            world.step()
        gateway.close_disputes()
        # Events may have been lost: a comparison of the books tells what none has told.
        reconciling.reconcile(fix=Fix.OURS)
        stuck = Saga.objects.filter(state=Saga.State.STUCK).order_by("id")
        for saga_id in stuck.values_list("id", flat=True):
            with suppress(FirstcomeError):
                operator_actions.retry(saga_id=saga_id, reason="simulated", by=journal.SYSTEM)
        calls = [f"call {name}" for client in clients for name in sorted(client.calls_open)]
        open_now = [*findings.open_now(), *calls]
        if not open_now:
            break
    return open_now
