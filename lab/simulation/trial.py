"""One simulated run: clients and faults for some steps, then rest, and what must hold in the end."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, QuerySet, Subquery

from coupons import partners, tasks
from coupons.allocation.writes import Queued
from coupons.campaigns import campaigns
from coupons.codes import eligible_accounts, pool
from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation, Coupon, PoolCode, QueueTicket
from coupons.partners import confirmation
from coupons.queue import worker
from events.models import FeedEvent, FeedState, WebhookDelivery, WebhookEndpoint
from events.webhooks import data_platform, sending
from events.webhooks.endpoints import DATA_PLATFORM_EVENTS
from inventory import adjustments, products
from lab.simulation.clients import AMOUNT, PERCENT, Client, CouponClient, Operator, Shop
from lab.simulation.outside import Gateway, Partner, Receiver
from lab.simulation.processes import Processes
from lab.simulation.world import chance, install_faults
from orders.models import Order, Saga
from orders.saga import operator_actions
from payments import gateways, ledger, points_grants
from payments.models import Entry, Transfer
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from sales import terms as sales
from sales.models import SaleEntry
from shop import clock
from shop.approval_models import Approval
from shop.errors import FirstcomeError
from shop.journal import journal
from shop.management import laws

BUYERS, ACCOUNTS, STOCK, POINTS, COUPONS = 4, 10, 60, 2_000, 5
PARTNER = "convenience_store"
PRICES = 300, 500, 700, 900
"""Of the products; the last one is in a sale."""
CAMPAIGNS: tuple[dict[str, Any], ...] = (
    {"strategy": "pessimistic"},
    {"strategy": "queue"},
    {"strategy": "redis_gate"},
    {"strategy": "code_pool", "code_source": "pool"},
    {"strategy": "queue", "partner": PARTNER},
    {"strategy": "redis_gate", "partner": PARTNER},
    {"strategy": "code_pool", "code_source": "pool", "partner": PARTNER},
    {"strategy": "group_commit", "shared_code": "TO-ALL"},
    {"strategy": "pessimistic", "shared_code": "TO-FIRST-ORDERS", "first_order_only": True},
    {"strategy": "conditional_update", "shared_code": "TO-LISTED", "eligible": "listed"},
    {"strategy": "optimistic", "shared_code": "TO-PRODUCT", "products": "first"},
    {"strategy": "redis_gate", "eligible": "listed"},
    {"strategy": "queue", "products": "first"},
)
"""Their terms; those with products are limited to the first one, and every other account is listed."""
STEPS, MOST_STEPS_TO_SETTLE = 600, 8_000
HEALING_SECONDS = 40.0
"""After so long the sweep takes every code and slot back that a crash left in flight."""
BLANK = sqlite3.connect(":memory:")
"""The tables of a shop in which nothing has happened."""


def prepare() -> None:
    """Make the tables once; each run begins with a copy."""
    call_command("migrate", verbosity=0)
    connection.connection.backup(BLANK)
    install_faults()


def run(seed: str) -> tuple[list[str], Processes, Shop]:
    """Run one seed from the beginning; what was found, and what came of it."""
    connection.ensure_connection()
    BLANK.backup(connection.connection)
    chance.begin(seed)
    processes = Processes()
    platform, program = Receiver(), Receiver()
    gateway: Any = Gateway(processes)
    partner = Partner(processes)
    gateways.GATEWAYS["simulator"] = replace(gateways.GATEWAYS["simulator"], load=lambda: gateway)
    partners.PARTNERS[PARTNER] = lambda: partner
    data_platform.send = platform.send
    sending.send = lambda endpoint, *, id, payload: program.send([payload])
    shop = _open_shop()
    issuing.forget()
    confirmation.reset()
    processes.start()
    for name in ("ada", "bob"):
        staff = User.objects.create(username=name, is_staff=True, is_superuser=True)
        shop.operators.append(staff.pk)
    endpoint: dict[str, Any] = {"url": "http://127.0.0.1:1/", "secret": "not read", "events": ["order.*"]}
    WebhookEndpoint.objects.create(owner_id=shop.operators[0], created_at=clock.now(), **endpoint)
    clients = [Client(processes, shop, id) for id in shop.accounts[:BUYERS]]
    clients += [CouponClient(processes, shop, id) for id in shop.accounts[BUYERS:]]
    clients += [Operator(processes, shop, id) for id in shop.operators]
    for client in clients:
        client.go_on(client.live())
    while processes.steps < STEPS:
        processes.step()
    findings = [f"not settled: {one}" for one in _settle(processes, gateway, clients)]
    findings += [f"{law.law} is broken: {law.offenders[:5]}" for law in laws.audit() if not law.holds]
    findings += [*_of_answers(shop, partner), *_of_operators(shop), *_of_coupons(shop), *_of_charges(gateway)]
    events = FeedEvent.objects.order_by("id")
    findings += _of_events("data platform", platform, events.filter(type__in=DATA_PLATFORM_EVENTS))
    findings += _of_events("program", program, events.filter(type__startswith="order."))
    findings += _sell_the_rest(shop)
    return findings, processes, shop


def _open_shop() -> Shop:
    """Accounts with points, products, a sale that opens soon and admits few in a minute, and campaigns."""
    accounts = [User.objects.create(username=f"account-{number}").pk for number in range(ACCOUNTS)]
    with transaction.atomic():
        ledger.bulk_open_wallets(accounts, POINTS)
    prices = {}
    for number, price in enumerate(PRICES):
        product = products.create(sku=f"sku-{number}", name=f"Product {number}", price=price)
        adjustments.adjust(product_id=product.pk, delta=STOCK, reason="received")
        prices[product.pk] = price
    first, *_, last = prices
    sale = sales.create(
        product_ids=[last],
        name="Simulated",
        opens_at=clock.now() + timedelta(seconds=5),
        closes_at=clock.now() + timedelta(days=30),
        admission="queue",
        rate_per_minute=2,
        # Longer than a run.
        admitted_for_seconds=7 * 24 * 3_600,
    )
    offers = dict(_open_campaign(given, accounts[::2], first) for given in CAMPAIGNS)
    return Shop(accounts, prices, offers, sale.pk, last)


def _open_campaign(offer: dict[str, Any], listed: list[int], product_id: int) -> tuple[int, dict[str, Any]]:
    terms = {"discount_type": "amount", "discount_value": AMOUNT, "quantity": COUPONS, **offer}
    if "shared_code" in offer:
        terms["code_source"] = "shared"
    if "products" in offer:
        offer = offer | {"products": [product_id]}
        terms |= {"products": [product_id], "discount_type": "percent", "discount_value": PERCENT}
    campaign_id = campaigns.create(name="Simulated", **terms).pk
    if offer["strategy"] == "code_pool":
        pool.add(campaign_id=campaign_id, codes=[f"POOL-{campaign_id}-{number}" for number in range(COUPONS)])
    if "eligible" in offer:
        offer = offer | {"listed": listed}
        eligible_accounts.add(campaign_id=campaign_id, account_ids=listed)
    return campaign_id, offer


def _settle(processes: Processes, gateway: Gateway, clients: Sequence[Client]) -> list[str]:
    """Stop the faults and the clients, and run until nothing is open; returns what is so after many steps."""
    processes.end_faults()
    for client in clients:
        client.is_done = True
    until, still_open = processes.steps + MOST_STEPS_TO_SETTLE, list[str]()
    while processes.steps < until:
        for _ in range(100):
            processes.step()
        gateway.close_disputes()
        # Events may have been lost: a comparison of the books tells what none has told.
        reconciling.reconcile(fix=Fix.OURS)
        stuck = Saga.objects.filter(state=Saga.State.STUCK).order_by("id")
        for saga_id in stuck.values_list("id", flat=True):
            with suppress(FirstcomeError):
                operator_actions.retry(saga_id=saga_id, reason="simulated", by=journal.SYSTEM)
        still_open = _open_rows() + [f"{call}" for client in clients for call in client.calls_open]
        if not still_open:
            break
    return still_open


def _open_rows() -> list[str]:
    """What has not ended yet."""
    last = FeedState.objects.values("last_position")
    unsettled: tuple[QuerySet[Any], ...] = (
        Saga.objects.filter(ended_at=None),
        Order.objects.filter(status=Order.Status.AWAITING_PAYMENT),
        FeedEvent.objects.filter(position=None),
        WebhookDelivery.objects.filter(status=WebhookDelivery.Status.PENDING),
        WebhookEndpoint.objects.filter(position__lt=Subquery(last)),
        QueueTicket.objects.filter(status=QueueTicket.Status.WAITING),
        Confirmation.objects.all(),
    )
    return [f"{type(row).__name__} {row.pk}" for rows in unsettled for row in rows.order_by("pk")[:5]]


def _of_answers(shop: Shop, partner: Partner) -> Iterator[str]:
    """What clients were answered is there, and nothing is of which no client, or no partner, knows."""

    def ids(model: Any) -> set[Any]:
        return set(model.objects.values_list("pk", flat=True))

    answered = {(*owned, code) for owned, code in shop.coupons.items()}
    coupons = Coupon.objects.filter(account_id__in=shop.accounts)
    codes = Coupon.objects.exclude(campaign__partner="").values_list("code", flat=True)
    differences: dict[str, set[Any]] = {
        "order": {*shop.orders} ^ ids(Order),
        "saga": {*shop.sagas} - ids(Saga),
        "entry": shop.entries ^ ids(SaleEntry),
        "ticket": shop.tickets - ids(QueueTicket),
        "coupon": answered ^ {*coupons.values_list("account_id", "campaign_id", "code")},
        "code": partner.registered_codes() ^ {*codes},
    }
    yield from shop.contradictions
    for name, rows in differences.items():
        yield from (f"{name} {row} is on one side only" for row in sorted(rows, key=str))


def _of_operators(shop: Shop) -> Iterator[str]:
    """What operators were answered that is not so, and points that nobody granted, or granted once more."""
    rows = {row.reason: row for row in Approval.objects.filter(kind=points_grants.GRANT)}
    if rows.keys() != shop.asked.keys():
        yield f"approvals of grants: {len(shop.asked)} were asked for, {len(rows)} are there"
    for row in Approval.objects.order_by("id"):
        if shop.decided.get(row.pk, row.status) != row.status:
            yield f"approval {row.pk} was answered to be {shop.decided[row.pk]}, and is {row.status}"
    approved = {why: shop.asked[why] for why, row in rows.items() if row.status == Approval.Status.APPROVED}
    due = sorted((why, *granted) for why, granted in (shop.granted | approved).items())
    entries = Entry.objects.filter(transfer__kind=Transfer.Kind.GRANT, amount__gt=0)
    entries = entries.exclude(transfer__reference__startswith="opening ")
    found = sorted(entries.values_list("transfer__reason", "account_id", "amount"))
    if found != due:
        yield f"points granted: {due} by the answers, {found} by the ledger"


def _of_coupons(shop: Shop) -> Iterator[str]:
    """Campaigns that gave more than they have, or refused before, and first orders that were none."""
    for campaign_id, offer in shop.offers.items():
        codes = Coupon.objects.filter(campaign_id=campaign_id).values_list("code", flat=True)
        if len(codes) > COUPONS or (campaign_id in shop.sold_out and len(codes) < COUPONS):
            yield f"campaign {campaign_id} of {COUPONS} has issued {len(codes)}, sold out: {shop.sold_out}"
        for order in Order.objects.filter(coupon_code__in=list(codes)) if "first_order_only" in offer else ():
            before = Order.objects.filter(account_id=order.account_id, placed_at__lt=order.placed_at)
            for one in before.exclude(status=Order.Status.REFUNDED).exclude(ended_at__lte=order.placed_at):
                yield f"order {order.id} is no first order: {one.id} was {one.status}"


def _of_charges(gateway: Gateway) -> Iterator[str]:
    """The gateway's book: no charge is open, and no order has two that succeeded or keeps what it may not."""
    booked = gateway.book.values()
    yield from (f"charge {one.key} is open" for one in booked if one.status == "pending")
    for order in Order.objects.order_by("id"):
        charges = [one for one in booked if one.order_id == str(order.id) and one.status == "succeeded"]
        kept_amount = sum(one.kept_amount for one in charges)
        if len(charges) > 1 or (kept_amount and order.status != Order.Status.PAID):
            yield f"order {order.id} is {order.status}, has {len(charges)} charges, which keep {kept_amount}"


def _of_events(name: str, receiver: Receiver, events: "QuerySet[FeedEvent]") -> Iterator[str]:
    """Whether it got each of these events, and those of an order in the sequence in which they happened."""
    order_of = {str(id): order_id for id, order_id in events.values_list("event_id", "order_id")}
    if order_of.keys() != receiver.events.keys():
        yield f"{name}: {len(receiver.events)} of {len(order_of)} events"
    for order in {*order_of.values()} - {None}:
        sequences = [[id for id in ids if order_of.get(id) == order] for ids in (order_of, receiver.events)]
        if sequences[0] != sequences[1]:
            yield f"{name}: events of {order} out of sequence"


def _sell_the_rest(shop: Shop) -> Iterator[str]:
    """Each campaign still issues as many coupons as it has left, and no more."""
    chance.pass_time(HEALING_SECONDS)
    tasks.sweep()
    for number in range(max(Campaign.objects.values_list("quantity", flat=True)) + 1):
        account = User.objects.create(username=f"late-{number}").pk
        for campaign_id, offer in shop.offers.items():
            if "listed" in offer:
                eligible_accounts.add(campaign_id=campaign_id, account_ids=[account])
            # A refusal shows in the campaign's count.
            with suppress(FirstcomeError):
                if isinstance(issuing.issue(campaign_id=campaign_id, user_id=account), Queued):
                    worker.serve_once()
    if codes := PoolCode.objects.filter(status=PoolCode.Status.IN_FLIGHT).count():
        yield f"{codes} codes are in flight for ever"
    for one in Campaign.objects.exclude(issued=F("quantity")):
        yield f"campaign {one.pk} ({one.strategy}): {one.issued} of {one.quantity} are issued, and no more"
