"""One simulated run: clients and faults for some steps, then rest, and what must hold in the end."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import QuerySet, Subquery

from coupons import partners
from coupons.campaigns import campaigns
from coupons.codes import eligible_accounts, pool
from coupons.issuing import issuing
from coupons.models import Campaign
from coupons.partners import confirmation
from events.models import FeedEvent, FeedState, WebhookDelivery, WebhookEndpoint
from events.webhooks import data_platform, sending
from events.webhooks.endpoints import DATA_PLATFORM_EVENTS
from inventory import adjustments, products
from lab.simulation import coupon_findings, offers, operators
from lab.simulation.clients import COUPONS_ALONE, HURRIED_SECONDS, Client, Shop
from lab.simulation.determinism import chance
from lab.simulation.offers import Offer
from lab.simulation.outside import Gateway, Receiver
from lab.simulation.partner import Book
from lab.simulation.processes import Processes, join
from lab.simulation.world import World
from orders import tasks
from orders.models import Order, Saga
from orders.saga import operator_actions
from payments import gateways, ledger, webhooks
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from sales import terms
from sales.models import SaleEntry
from shop import clock
from shop.errors import FirstcomeError
from shop.journal import journal
from shop.management import laws

BUYERS, ACCOUNTS, PRODUCTS, STOCK, COUPONS, POINTS = 4, 10, 3, 60, 5, 2_000
OPERATORS = ("ada", "bob")
PARTNER = "convenience_store"
CAMPAIGNS: tuple[dict[str, Any], ...] = (
    {"strategy": "pessimistic"},
    {"strategy": "queue"},
    {"strategy": "redis_gate"},
    {"strategy": "code_pool"},
    {"strategy": "queue", "partner": PARTNER},
    {"strategy": "redis_gate", "partner": PARTNER},
    {"strategy": "code_pool", "partner": PARTNER},
    {"strategy": "group_commit", "shared_code": "TO-ALL"},
    {"strategy": "pessimistic", "shared_code": "TO-FIRST-ORDERS", "first_order_only": True},
    {"strategy": "conditional_update", "shared_code": "TO-LISTED", "eligible": "listed"},
    {"strategy": "optimistic", "shared_code": "TO-PRODUCT", "is_limited": True},
    {"strategy": "redis_gate", "eligible": "listed"},
    {"strategy": "queue", "is_limited": True},
)
"""Their terms; those that are limited are so to the first product, and every other account is listed."""
SALE_OPENS_SECONDS, SALE_RATE = 5, 2
OWNER_SECONDS = ((0.05, 5.0), (5.0, 50.0), (50.0, 300.0))
"""When the owner of a card acts: at once, later, or about when the shop gives up."""
SHARE_OF_MEDDLING = 0.3
"""How many charges are refunded or disputed at the gateway."""
STEPS, MOST_STEPS_TO_SETTLE = 600, 8_000
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
    world, gateway, platform, program = World(), Gateway(), Receiver(), Receiver()
    entry = gateways.GATEWAYS["simulator"]
    gateways.GATEWAYS["simulator"] = replace(entry, load=lambda: gateway)
    data_platform.send, sending.send = platform.send, program.send_one
    book = Book()
    partners.PARTNERS[PARTNER] = lambda: book
    shop = _open_shop()
    issuing.forget()
    confirmation.reset()
    processes = Processes(world)
    join(processes)
    book.wait = processes.let_others_run
    gateway.emit = partial(_send_webhook, processes, count())
    gateway.ask = partial(_ask_owner, processes, gateway)
    gateway.meddle = partial(_meddle, processes, gateway)
    clients = [Client(processes, shop, account_id) for account_id in shop.accounts[:BUYERS]]
    clients += [
        Client(processes, shop, account_id, actions=COUPONS_ALONE, pauses=HURRIED_SECONDS)
        for account_id in shop.accounts[BUYERS:]
    ]
    staff = [User.objects.create(username=name, is_staff=True, is_superuser=True) for name in OPERATORS]
    operating = operators.Book([user.pk for user in staff])
    clients += [operators.Operator(processes, shop, user, operating) for user in staff]
    terms: dict[str, Any] = {"url": "http://127.0.0.1:1/", "secret": "not read", "events": ["order.*"]}
    WebhookEndpoint.objects.create(**terms, owner_id=staff[0].pk, created_at=clock.now())
    for client in clients:
        client.begin()
    while world.steps < steps:
        world.step()
    findings = _settle(world, processes, gateway, [platform, program], book, clients)
    findings += _compare(shop) + _compare_charges(gateway)
    events = FeedEvent.objects.order_by("id")
    findings += _compare_events("data platform", platform, events.filter(type__in=DATA_PLATFORM_EVENTS))
    findings += _compare_events("program", program, events.filter(type__startswith="order."))
    findings += [*operators.findings(operating), *coupon_findings.of_run(shop, book)]
    last, digest = list(world.last), world.digest
    gateways.GATEWAYS["simulator"] = entry
    return Result(seed, findings, digest, last, world.steps, len(shop.orders))


def _open_shop() -> Shop:
    accounts = [User.objects.create(username=f"account-{number}").pk for number in range(ACCOUNTS)]
    with transaction.atomic():
        ledger.bulk_open_wallets(accounts, POINTS)
    shop = Shop(accounts=accounts, prices={}, offers={})
    for number in range(PRODUCTS):
        product = products.create(sku=f"sku-{number}", name=f"Product {number}", price=300 + 200 * number)
        adjustments.adjust(product_id=product.pk, delta=STOCK, reason="received")
        shop.prices[product.pk] = product.price
    shop.sale_product = products.create(sku="sku-sale", name="Product of a sale", price=900).pk
    shop.prices[shop.sale_product] = 900
    adjustments.adjust(product_id=shop.sale_product, delta=STOCK, reason="received")
    shop.sale = _open_sale(shop.sale_product)
    shop.offers = dict(_open_campaign(shop, **terms) for terms in CAMPAIGNS)
    return shop


def _open_sale(product_id: int) -> int:
    """A sale that opens soon, and admits few in a minute. Admitted entries do not expire in the run."""
    now = clock.now()
    return terms.create(
        product_ids=[product_id],
        name="Simulated",
        opens_at=now + timedelta(seconds=SALE_OPENS_SECONDS),
        closes_at=now + timedelta(days=30),
        admission="queue",
        rate_per_minute=SALE_RATE,
        admitted_for_seconds=7 * 24 * 3_600,
    ).pk


def _open_campaign(
    shop: Shop, *, strategy: str, is_limited: bool = False, shared_code: str = "", **more: Any
) -> tuple[int, Offer]:
    """A new campaign, and what the model knows of it."""
    terms: dict[str, Any] = {"strategy": strategy, "quantity": COUPONS} | more
    terms |= {"discount_type": "amount", "discount_value": offers.AMOUNT}
    products, listed = list(shop.prices)[:1], shop.accounts[::2]
    if strategy == "code_pool":
        terms["code_source"] = Campaign.CodeSource.POOL
    if shared_code:
        terms |= {"code_source": Campaign.CodeSource.SHARED, "shared_code": shared_code}
    if is_limited:
        terms |= {"products": products, "discount_type": "percent", "discount_value": offers.PERCENT}
    campaign_id = campaigns.create(name="Simulated", **terms).pk
    if strategy == "code_pool":
        pool.add(campaign_id=campaign_id, codes=[f"POOL-{campaign_id}-{number}" for number in range(COUPONS)])
    has_list = "eligible" in terms
    if has_list:
        eligible_accounts.add(campaign_id=campaign_id, account_ids=listed)
    return campaign_id, Offer(
        COUPONS,
        shared_code,
        is_for_first_orders="first_order_only" in terms,
        listed=frozenset(listed) if has_list else None,
        products=frozenset(products) if is_limited else None,
    )


def _send_webhook(processes: Processes, numbers: "count[int]", type: str, key: str) -> None:
    """Have the gateway's event received, perhaps late, twice, or never."""
    id = f"evt_{next(numbers)}"
    times = chance.random.choice([0, 1, 1, 2]) if processes.is_faulty else 1
    for _ in range(times):
        run = partial(processes.call, partial(_receive, processes, id, type, key))
        after = chance.random.uniform(0.01, 30.0)
        processes.world.submit(processes.clients, f"webhook {type}", run, after=after)


def _ask_owner(processes: Processes, gateway: Gateway, key: str) -> None:
    """Have the owner of the card approve or refuse the charge, soon, perhaps too late, or never."""
    decision = chance.random.choice(["approve", "approve", "refuse", "leave"])
    after = chance.random.uniform(*chance.random.choice(OWNER_SECONDS))
    if decision != "leave":
        act = partial(gateway.act, key, is_approved=decision == "approve")
        processes.world.submit(processes.clients, f"owner: {decision}", act, after=after)


def _meddle(processes: Processes, gateway: Gateway, key: str) -> None:
    """Have parts of the charge refunded and disputed at the gateway, soon or late, or leave it alone."""
    if chance.random.random() >= SHARE_OF_MEDDLING:
        return
    amount = gateway.book[key].amount
    for _ in range(chance.random.randint(1, 2)):
        part = chance.random.choice([amount, chance.random.randint(1, amount)])
        after = chance.random.uniform(*chance.random.choice(OWNER_SECONDS))
        act = chance.random.choice([gateway.give_back, gateway.dispute])
        name = act.__name__.replace("_", " ")
        processes.world.submit(processes.clients, f"gateway: {name}", partial(act, key, part), after=after)


def _end_disputes(gateway: Gateway) -> None:
    """The banks decide every dispute: the refunds that wait for one can go on."""
    for key in list(gateway.book):
        gateway.close_disputes(key, chance.random.choice(["won", "lost"]))


def _receive(processes: Processes, id: str, type: str, key: str) -> None:
    event = webhooks.receive(gateway="simulator", headers={}, body=f"{id} {type} {key}".encode())
    if event and event.handled_at is None:
        processes.enqueue(tasks.handle_webhook, event.id)


def _settle(
    world: World,
    processes: Processes,
    gateway: Gateway,
    receivers: Sequence[Receiver],
    book: Book,
    clients: Sequence[Client],
) -> list[str]:
    """Stop the faults and the clients, and run until nothing is open."""
    processes.is_faulty = gateway.is_faulty = book.is_faulty = False
    for receiver in receivers:
        receiver.is_faulty = False
    processes.redis.repair()
    for client in clients:
        client.is_done = True
    until = world.steps + MOST_STEPS_TO_SETTLE
    while world.steps < until:
        for _ in range(100):
            world.step()
        _end_disputes(gateway)
        # Events may have been lost: a comparison of the books tells what none has told.
        reconciling.reconcile(fix=Fix.OURS)
        for saga_id in (
            Saga.objects.filter(state=Saga.State.STUCK).order_by("id").values_list("id", flat=True)
        ):
            with suppress(FirstcomeError):
                operator_actions.retry(saga_id=saga_id, reason="simulated", by=journal.SYSTEM)
        open_now = [*_open(), *(f"call {name}" for client in clients for name in sorted(client.calls_open))]
        if not open_now:
            return []
    return [f"not settled: {one}" for one in open_now]


def _open() -> list[str]:
    """What has not ended yet."""
    sagas = Saga.objects.filter(ended_at=None).order_by("id").values_list("id", "kind", "state")
    unpaid = Order.objects.filter(status=Order.Status.AWAITING_PAYMENT).order_by("id").values_list("id")
    events = FeedEvent.objects.filter(position=None).order_by("id").values_list("type")
    pending = WebhookDelivery.objects.filter(status="pending").order_by("id").values_list("type")
    last = FeedState.objects.values("last_position")
    behind = WebhookEndpoint.objects.filter(position__lt=Subquery(last)).order_by("id").values_list("kind")
    return [
        f"{name} {row}"
        for name, rows in (
            ("saga", sagas),
            ("order", unpaid),
            ("event", events),
            ("delivery", pending),
            ("endpoint", behind),
        )
        for row in rows[:5]
    ] + coupon_findings.open_now()


def _compare_charges(gateway: Gateway) -> list[str]:
    """The gateway's book: no charge is open, and no order has two that succeeded or keeps what it may not."""
    findings = [f"charge {one.key} is open" for one in gateway.book.values() if one.status == "pending"]
    charged, kept = Counter[str](), Counter[str]()
    for charge in gateway.book.values():
        if charge.order_id and charge.status == "succeeded":
            charged[charge.order_id] += 1
            kept[charge.order_id] += charge.kept_amount
    for order_id, status in Order.objects.order_by("id").values_list("id", "status"):
        if charged[str(order_id)] > 1:
            findings.append(f"order {order_id} was charged {charged[str(order_id)]} times")
        if status != Order.Status.PAID and kept[str(order_id)]:
            findings.append(f"order {order_id} is {status}, and {kept[str(order_id)]} are charged for it")
    return findings


def _compare(shop: Shop) -> list[str]:
    """The laws, and what clients were answered."""
    findings = [f"{law.law} is broken: {law.offenders[:5]}" for law in laws.audit() if not law.holds]
    known = set(Order.objects.values_list("id", flat=True))
    findings += [f"lost: order {id}" for id in shop.orders.values() if id not in known]
    if len(known) > len(shop.orders):
        findings.append(f"{len(known) - len(shop.orders)} orders were placed of which no client knows")
    entries = set(SaleEntry.objects.values_list("id", flat=True))
    findings += [f"entry {id} is on one side only" for id in sorted(entries ^ shop.entries)]
    if refused := shop.refusals.get("admission_required"):
        findings.append(f"{refused} orders of admitted accounts were refused")
    sagas = set(Saga.objects.values_list("id", flat=True))
    findings += [f"lost: saga {id}" for id in shop.sagas.values() if id not in sagas]
    return findings


def _compare_events(name: str, receiver: Receiver, events: "QuerySet[FeedEvent]") -> list[str]:
    """Whether it got each of these events, and those of an order in the sequence in which they happened."""
    happened, came = defaultdict[UUID, list[str]](list), defaultdict[UUID, list[str]](list)
    order_of = {str(event.event_id): event.order_id for event in events}
    for ids, of_orders in ((order_of, happened), (receiver.events, came)):
        for id in ids:
            if order_id := order_of.get(id):
                of_orders[order_id].append(id)
    wrong = [order for order in happened if came[order] != happened[order]]
    findings = [f"{name}: events of {order} out of sequence" for order in wrong]
    if order_of.keys() != receiver.events.keys():
        findings.append(f"{name}: {len(receiver.events)} of {len(order_of)} events")
    return findings
