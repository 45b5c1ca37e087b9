"""The causes: what is broken, the alerts that must fire by it, and those that it explains as well.

The causes of a phase are made together, for each takes a while to be noticed, and removed together, the last
one first. What one inhibits is in another phase; what keeps the web processes busy comes last in its own.
"""

import inspect
import json
import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lab.alerts.stage import Stage
from lab.chaos.calls import Call
from lab.stack import database, faketime
from scripts.simulators import books
from scripts.stack import SetupError, children, ports, process_identity, processes, readiness, supervision

Block = AbstractContextManager[object]
FAILED = "ErrorRate ErrorBudgetBurn1h ErrorBudgetBurn6h ErrorBudgetBurn1d ErrorBudgetBurn3d"
"""What failed requests have fire."""
UNKNOWN = "MetricMissing LawUnchecked ReconciliationOverdue ClockSkew"
"""What is not known without the database."""
ATTEMPTS = 5
PENDING = "events_webhookdelivery WHERE status = 'pending'"


@dataclass(frozen=True)
class Cause:
    """What `make` does while its block lasts. `explains` are alerts that may fire by it, and need not."""

    phase: int
    what: str
    fires: list[str]
    explains: list[str]
    make: Callable[[Stage], Block]


CAUSES: list[Cause] = []


def add(phase: int, what: str, fires: str, explains: str = "") -> Callable[[Callable[[Stage], Block]], None]:
    """A cause that is a block."""
    return lambda make: CAUSES.append(Cause(phase, what, fires.split(), explains.split(), make))


def cause(phase: int, fires: str, explains: str = "") -> Callable[[Callable[[Stage], Iterator[None]]], None]:
    """A cause that is a function, whose docstring says what it breaks until it goes on."""

    def make(function: Callable[[Stage], Iterator[None]]) -> None:
        what = " ".join(inspect.cleandoc(function.__doc__ or "").split()).rstrip(".")
        add(phase, what, fires, explains)(contextmanager(function))

    return make


@contextmanager
def together(*blocks: Block) -> Iterator[None]:
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(block)
        yield


def _issuers_frozen(stage: Stage) -> Block:
    return together(stage.lasting("freeze", "issuer"), process_identity.frozen({stage.issuer.pid}))


@contextmanager
def _failing_endpoint(stage: Stage, column: str, interval: str, rows: str) -> Iterator[None]:
    """Its address is the host's own, which is refused, and an event is to be sent to it; then the column of
    its rows is put back."""
    endpoint = str(uuid.uuid4())
    values = """events_webhookendpoint (id, kind, url, events, description, secret, owner_id, position,
            created_at, failures, disabled_by, lease_token)
        SELECT %s, 'program', 'http://127.0.0.1:9/', '["*"]', 'alerts', 'whsec_YWxlcnRzYWxlcnRzYWxlcnRz',
            (SELECT MIN(id) FROM auth_user WHERE is_superuser), last_position, UTC_TIMESTAMP(6), 0, '', ''
        FROM events_feedstate"""
    own = ("events_webhookendpoint WHERE id = %s", "events_webhookdelivery WHERE endpoint_id = %s")
    with stage.inserted(values, *own, value=endpoint):
        stage.product()
        stage.wait_for(1, "events_webhookendpoint WHERE id = %s AND failing_since IS NOT NULL", endpoint)
        stage.age(column, interval, f"{rows} = %s", endpoint)
        yield


for phase, what, sort, name, fires, explains in (
    (1, "The exporter of Redis is stopped", "down", "redis exporter", "ExporterDown", ""),
    (6, "Beat is frozen", "freeze", "beat", "BeatSilent", "TargetDown"),
    (7, "The worker is frozen", "freeze", "worker", "TargetDown", "TasksNotMoving"),
    (7, "The broker is stopped", "down", "broker", "BrokerAway", "MetricMissing TasksNotMoving"),
    (8, "Redis is stopped", "down", "redis", "RedisAway", "BeatSilent IssuerSilent MetricMissing"),
    (9, "The database is stopped", "down", "mariadb", "DatabaseAway", UNKNOWN),
):
    add(phase, what, fires, explains)(partial(Stage.lasting, sort=sort, name=name))
add(1, "A product's `reserved` is set above `on_hand` by SQL", "StockNegative LawBroken")(
    lambda stage: stage.changed("inventory_product", "reserved = on_hand + 1", stage.product())
)
add(1, "A campaign's `issued` is set above its `quantity` by SQL", "CouponDuplicate", "LawBroken")(
    lambda stage: stage.changed("coupons_campaign", "issued = quantity + 1", stage.campaign())
)
add(1, "Orders are paid by cards that are declined", "PaymentFailureRate")(
    lambda stage: stage.orders(6, card="tok_declined")
)
add(1, "A step of a saga is forced, by a line of the journal", "SagaStepForced")(
    lambda stage: stage.inserted(
        """shop_journalline
            (at, actor, actor_name, request_id, what, subject, after, detail, reference, is_internal)
        VALUES (UTC_TIMESTAMP(6), 'staff', 'alerts', '', 'saga.forced', 'purchase alerts',
            '{"step": "charge_card"}', '', '', 1)""",
        "shop_journalline WHERE subject = 'purchase alerts'",
    )
)
add(1, "An operator granted two millions today, by SQL", "GrantsByOperator")(
    lambda stage: stage.inserted(
        """payments_grantsofday (operator_id, day, amount, approved_amount)
        VALUES (0, UTC_DATE(), 1, 2000000)""",
        "payments_grantsofday WHERE operator_id = 0",
    )
)
add(1, "A webhook endpoint has a refused address; SQL adds to the age of what waits for it", "WebhookLag")(
    lambda stage: _failing_endpoint(stage, "created_at", "2 HOUR", "events_webhookdelivery WHERE endpoint_id")
)
add(1, "Another such endpoint; SQL adds days to the time for which it has failed", "WebhookEndpointDisabled")(
    lambda stage: _failing_endpoint(stage, "failing_since", "4 DAY", "events_webhookendpoint WHERE id")
)
add(6, "Both issuers are frozen", "IssuerSilent", "TargetDown")(_issuers_frozen)
add(6, "The gateway takes 2.6 s for each call while orders wait for their payment", "LatencyOverGoal")(
    lambda stage: together(stage.lasting("slow", "gateway"), stage.orders(8, card="tok_ok", wait=20))
)


@cause(1, "ReconciliationDifference", explains="LawBroken")
def foreign_charge(stage: Stage) -> Iterator[None]:
    """The gateway has an old charge that belongs to no payment; removed by `reconcile --fix`."""
    made = _ask_gateway(stage, "/charges", {"token": "tok_ok", "amount": 1_000, "currency": "KRW"})
    # Comparisons leave out the last two minutes, in which a payment may not be recorded yet.
    began_at = books.written(datetime.now(UTC) - timedelta(minutes=10))
    with closing(sqlite3.connect(stage.instance.data / "gateway.sqlite3")) as book, book:
        book.execute("UPDATE charges SET created_at = ? WHERE id = ?", [began_at, made["id"]])
    yield
    stage.manage("reconcile --fix")


@cause(1, "DisputeOpen")
def disputed_charge(stage: Stage) -> Iterator[None]:
    """The owner of a card disputes a charge; the shop wins."""
    call = stage.order_call(stage.buyers[0], stage.product(), card="tok_ok", wait=20)
    placed = stage.require(call, status=201)
    charge = stage.shop.gateway(f"/charges?order={placed['id']}")["results"][0]["id"]
    opened = _ask_gateway(stage, "/disputes", {"charge": charge})
    yield
    _ask_gateway(stage, f"/disputes/{opened['id']}/close", {"status": "won"})


def _ask_gateway(stage: Stage, path: str, body: dict[str, Any]) -> Any:
    """The JSON that the gateway answers, under a new key. Raises SetupError unless it is a success."""
    headers = {"Idempotency-Key": f"alerts-{uuid.uuid4()}", "Content-Type": "application/json"}
    status, text = readiness.ask(stage.instance.gateway_port, "POST", path, json.dumps(body), headers)
    if status not in (200, 201):
        raise SetupError(f"{path} of the gateway answered {status} {text}")
    return json.loads(text)


@cause(1, "EventsDead")
def refused_event(stage: Stage) -> Iterator[None]:
    """Another data platform refuses an event for good; SQL adds to the refusal's age; removed by
    `replay_events --all`."""
    instance, name = stage.instance, "refusing-data-platform"
    port, book = instance.data_platform_port, instance.data / "refusing.sqlite3"
    words = [*processes.simulator("data_platform", port, book), "--refuse-type", "coupon.issued"]
    own, log = supervision.environment(instance), instance.logs / f"{name}.log"
    refusing = children.running(words, name=name, log=log, is_ready=(ports.HOST, port), environment=own)
    with stage.lasting("down", "sink"), refusing:
        stage.require(stage.coupon_call(stage.buyers[0], stage.campaign()), status=201)
        stage.wait_for(1, f"{PENDING} AND refused_at IS NOT NULL")
        stage.age("refused_at", "2 HOUR", PENDING)
        yield
    stage.manage("replay_events --all")


@cause(1, "ConnectionsSaturated")
def many_connections(stage: Stage) -> Iterator[None]:
    """A client keeps 85 % of the connections to the database open, with those that the shop needs."""
    [[most]] = database.rows(stage.instance, "SELECT @@global.max_connections")
    [[_, connected]] = database.rows(stage.instance, "SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    with ExitStack() as opened:
        for _ in range(int(most * 0.85) - int(connected)):
            opened.enter_context(database.connected(stage.instance))
        yield


@cause(1, "ClockSkew")
def clock_ahead(stage: Stage) -> Iterator[None]:
    """The clock of an issuer's host jumps five minutes ahead."""
    faketime.set_offset(stage.offset_file, 300)
    yield
    faketime.set_offset(stage.offset_file, 0)


@cause(2, "MetricMissing LawUnchecked")
def law_table_renamed(stage: Stage) -> Iterator[None]:
    """The table of the laws' answers is renamed."""
    stage.execute("RENAME TABLE shop_lawstatus TO shop_lawstatus_away")
    yield
    stage.execute("RENAME TABLE shop_lawstatus_away TO shop_lawstatus")


@cause(2, "FeedLag")
def locked_feed(stage: Stage) -> Iterator[None]:
    """A transaction keeps the feed's row locked; SQL adds to the age of the events after it."""
    with stage.locked("events_feedstate"):
        # Sequencers leave at once while the row is locked.
        stage.product()
        stage.age("at", "10 MINUTE", "events_feedevent WHERE position IS NULL")
        yield
    stage.wait_for(0, "events_feedevent WHERE position IS NULL")


@cause(2, "QueueNotMoving", explains="LockWaits")
def locked_queue(stage: Stage) -> Iterator[None]:
    """A transaction keeps a campaign locked whose queue has a ticket."""
    campaign = stage.campaign("queue")
    with ExitStack() as stack:
        # The ticket is drawn before the lock, which it would wait for, and while no issuer can serve it.
        with _issuers_frozen(stage):
            stage.require(stage.coupon_call(stage.buyers[0], campaign), status=202)
            stack.enter_context(stage.locked("coupons_campaign WHERE id = %s", campaign))
        yield


@cause(2, "SaleNotAdmitting", explains="LockWaits")
def locked_sale(stage: Stage) -> Iterator[None]:
    """A transaction keeps a sale locked in which an entry waits; SQL lets it open earlier."""
    # The entry joins before the sale opens, which is then locked before a process admits the entry.
    for buyer in stage.buyers[:ATTEMPTS]:
        sale = stage.shop.create_sale(stage.product(), in_seconds=3_600)
        stage.require(Call("POST", f"/sales/{sale}/entries", buyer.token), status=202)
        stage.age("opens_at", "70 MINUTE", "sales_sale WHERE id = %s", sale)
        with stage.locked("sales_sale WHERE id = %s", sale):
            if not stage.count("sales_sale WHERE id = %s AND passed_position > 0", sale):
                yield
                return
    raise SetupError(f"{ATTEMPTS} sales had admitted their entry before they were locked")


@cause(2, "OrdersOverdue", explains="LockWaits")
def locked_overdue_order(stage: Stage) -> Iterator[None]:
    """A transaction keeps an unpaid order locked whose time is over."""
    product, unpaid = stage.product(), "orders_order WHERE status = 'awaiting_payment' AND id = %s"
    # Its time is put back, and it is locked before the next sweep comes.
    for _ in range(ATTEMPTS):
        order = stage.require(stage.order_call(stage.buyers[0], product), status=201)["id"]
        stage.age("expires_at", "1 DAY", "orders_order WHERE id = %s", order)
        with stage.locked("orders_order WHERE id = %s", order):
            if stage.count(unpaid, order):
                yield
                break
    else:
        raise SetupError("no overdue order could be locked before it expired")
    stage.wait_for(0, unpaid, order)


@cause(2, "PartnerAway", explains=f"LatencyOverGoal {FAILED}")
def partner_stopped(stage: Stage) -> Iterator[None]:
    """The partner is stopped while coupons of its campaign are asked for."""
    campaign = stage.campaign(partner="convenience_store")
    with stage.lasting("down", "partner"), stage.coupons(campaign, 3):
        yield


@cause(2, f"LockWaits {FAILED}", explains="LatencyOverGoal")
def locked_product(stage: Stage) -> Iterator[None]:
    """A transaction keeps a product locked that orders are placed for."""
    product = stage.product()
    with stage.orders(20, product=product), stage.locked("inventory_product WHERE id = %s", product):
        yield


@cause(3, "ThreadsSaturated", explains=f"LockWaits LatencyOverGoal {FAILED}")
def locked_campaigns(stage: Stage) -> Iterator[None]:
    """Transactions keep campaigns of the strategy `pessimistic` locked that coupons are asked of."""
    # Each request waits for its campaign in a thread; one campaign may have half of a process's threads, and
    # the processes may share the connections unevenly.
    with ExitStack() as stack:
        for campaign in [stage.campaign("pessimistic") for _ in range(3)]:
            stack.enter_context(stage.locked("coupons_campaign WHERE id = %s", campaign))
            stack.enter_context(stage.coupons(campaign, 12))
        yield


@cause(4, "PaymentInDoubt SagaStuck ReconciliationOverdue")
def gateway_stopped(stage: Stage) -> Iterator[None]:
    """The gateway is stopped while orders are paid; SQL adds to their and the comparisons' age; removed by
    `retry_saga --all-stuck`."""
    product = stage.product()
    with stage.lasting("down", "gateway"):
        for account in stage.buyers[:3]:
            stage.require(stage.order_call(account, product, card="tok_ok"), status=202)
        stage.wait_for(3, "payments_payment WHERE status = 'in_doubt'")
        stage.age("created_at", "10 MINUTE", "payments_payment WHERE status = 'in_doubt'")
        for column in ("started_at", "ended_at"):
            stage.age(column, "2 HOUR", "payments_reconciliation")
        yield
    # As the runbook says: by then the next attempt of a stuck saga may be minutes away. One that has ended
    # meanwhile is refused.
    with suppress(SetupError):
        stage.manage("retry_saga --all-stuck --by alerts --reason recovered")
    stage.wait_for(0, "payments_payment WHERE status IN ('pending', 'in_doubt')")


@cause(4, "OutboxLag")
def data_platform_stopped(stage: Stage) -> Iterator[None]:
    """The data platform is stopped while an event waits; SQL adds to its age."""
    with stage.lasting("down", "sink"):
        stage.require(stage.coupon_call(stage.buyers[0], stage.campaign()), status=201)
        stage.wait_for(1, PENDING)
        stage.age("created_at", "10 MINUTE", PENDING)
        yield


@cause(5, "TasksNotMoving")
def consumer_cancelled(stage: Stage) -> Iterator[None]:
    """The worker takes no more tasks of its queue."""
    # By Celery's own remote control, as an operator may do it and forget it.
    words = [sys.executable, "-m", "celery", "-A", "shop", "control"]
    own = supervision.environment(stage.instance)
    children.printed(children.run([*words, "cancel_consumer", "celery"], within_seconds=60, environment=own))
    yield
    children.printed(children.run([*words, "add_consumer", "celery"], within_seconds=60, environment=own))
