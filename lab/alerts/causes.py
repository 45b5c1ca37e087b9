"""The causes: what is broken, the alerts that must fire by it, and those that it explains as well.

The causes of a phase are made together, for each takes a while to be noticed, and removed together, the last
one first. What one inhibits is in another phase; what keeps the web processes busy comes last in its own.
"""

import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import methodcaller

from lab.alerts.stage import SECOND_ISSUER, Stage
from lab.calls import Call, coupon_call, order_call
from lab.stack import database
from scripts.simulators import books
from scripts.stack import SetupError, children, ports, processes, supervision

Block = AbstractContextManager[object]
FAILED = "ErrorRate ErrorBudgetBurn1h ErrorBudgetBurn6h ErrorBudgetBurn1d ErrorBudgetBurn3d"
"""What failed requests have fire."""
UNKNOWN = "MetricMissing LawUnchecked ReconciliationOverdue ClockSkew"
"""What is not known without the database."""
PENDING = "events_webhookdelivery WHERE status = 'pending'"
FORCED = """INSERT INTO shop_journalline
    (at, actor, actor_name, request_id, what, subject, after, detail, reference, is_internal)
VALUES (UTC_TIMESTAMP(6), 'staff', 'alerts', '', 'saga.forced', 'purchase alerts',
    '{"step": "charge_card"}', '', '', 1)"""
ENDPOINT = """INSERT INTO events_webhookendpoint (id, kind, url, events, description, secret, owner_id,
    position, created_at, failures, disabled_by, lease_token)
SELECT %s, 'program', 'http://127.0.0.1:9/', '["*"]', 'alerts', 'whsec_YWxlcnRzYWxlcnRzYWxlcnRz',
    (SELECT MIN(id) FROM auth_user WHERE is_superuser), last_position, UTC_TIMESTAMP(6), 0, '', ''
FROM events_feedstate"""
"""Its address is the host's own, which is refused."""
GRANTED = """INSERT INTO payments_grantsofday (operator_id, day, amount, approved_amount)
VALUES (0, UTC_DATE(), 1, 2000000)"""
RENAMED = "RENAME TABLE shop_lawstatus TO shop_lawstatus_away"


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
        what = " ".join((function.__doc__ or "").split()).rstrip(".")
        add(phase, what, fires, explains)(contextmanager(function))

    return make


for phase, what, sort, name, fires, explains in (
    (1, "The exporter of Redis is stopped", "down", "redis exporter", "ExporterDown", ""),
    (1, "The clock of one issuer drifts minutes ahead", "clock ahead of", SECOND_ISSUER, "ClockSkew", ""),
    (6, "Beat is frozen", "freeze", "beat", "BeatSilent", "TargetDown"),
    (7, "The worker is frozen", "freeze", "worker", "TargetDown", "TasksNotMoving"),
    (7, "The broker is stopped", "down", "broker", "BrokerAway", "MetricMissing TasksNotMoving"),
    (8, "Redis is stopped", "down", "redis", "RedisAway", "BeatSilent IssuerSilent MetricMissing"),
    (9, "The database is stopped", "down", "mariadb", "DatabaseAway", UNKNOWN),
):
    add(phase, what, fires, explains)(methodcaller("lasting", sort, name))
add(6, "Both issuers are frozen", "IssuerSilent", "TargetDown")(Stage.issuers_frozen)
add(1, "A product's `reserved` is set above `on_hand` by SQL", "StockNegative LawBroken")(
    lambda stage: stage.changed("inventory_product", "reserved", "on_hand + 1", stage.product())
)
add(1, "A campaign's `issued` is set above its `quantity` by SQL", "CouponDuplicate", "LawBroken")(
    lambda stage: stage.changed("coupons_campaign", "issued", "quantity + 1", stage.campaign())
)
add(1, "A step of a saga is forced, by a line of the journal", "SagaStepForced")(
    methodcaller("executed", FORCED, "DELETE FROM shop_journalline WHERE subject = 'purchase alerts'")
)
add(1, "An operator granted two millions today, by SQL", "GrantsByOperator")(
    methodcaller("executed", GRANTED, "DELETE FROM payments_grantsofday WHERE operator_id = 0")
)
add(2, "The table of the laws' answers is renamed", "MetricMissing LawUnchecked")(
    methodcaller("executed", RENAMED, "RENAME TABLE shop_lawstatus_away TO shop_lawstatus")
)
add(1, "Orders are paid by cards that are declined", "PaymentFailureRate")(
    lambda stage: stage.load(6, order_call, product=stage.product(), card="tok_declined")
)


@contextmanager
def _failing_endpoint(stage: Stage, column: str, interval: str, rows: str) -> Iterator[None]:
    """An event is to be sent to it; then the column of its rows is put back."""
    endpoint = str(uuid.uuid4())
    own = ("events_webhookdelivery WHERE endpoint_id = %s", "events_webhookendpoint WHERE id = %s")
    deleting = [f"DELETE FROM {one}" for one in own]  # noqa: S608
    with stage.executed(ENDPOINT, *deleting, values=(endpoint,)):
        stage.product()
        stage.wait_for(1, f"{own[1]} AND failing_since IS NOT NULL", endpoint)
        stage.age(column, interval, f"{rows} = %s", endpoint)
        yield


add(1, "A webhook endpoint has a refused address; SQL adds to the age of what waits for it", "WebhookLag")(
    lambda stage: _failing_endpoint(stage, "created_at", "2 HOUR", "events_webhookdelivery WHERE endpoint_id")
)
add(1, "Another such endpoint; SQL adds days to the time for which it has failed", "WebhookEndpointDisabled")(
    lambda stage: _failing_endpoint(stage, "failing_since", "4 DAY", "events_webhookendpoint WHERE id")
)


@cause(1, "ReconciliationDifference", explains="LawBroken")
def foreign_charge(stage: Stage) -> Iterator[None]:
    """The gateway has an old charge that belongs to no payment; removed by `reconcile --fix`."""
    made = stage.at_gateway("/charges", {"token": "tok_ok", "amount": 1_000, "currency": "KRW"})
    # Comparisons leave out the last two minutes, in which a payment may not be recorded yet.
    began_at = books.written(datetime.now(UTC) - timedelta(minutes=10))
    with closing(sqlite3.connect(stage.instance.data / "gateway.sqlite3")) as book, book:
        book.execute("UPDATE charges SET created_at = ? WHERE id = ?", [began_at, made["id"]])
    yield
    stage.manage("reconcile --fix")


@cause(1, "DisputeOpen")
def disputed_charge(stage: Stage) -> Iterator[None]:
    """The owner of a card disputes a charge; the shop wins."""
    call = order_call(stage.buyers[0], stage.product(), card="tok_ok", wait=20)
    placed = stage.require(call, 201)
    charge = stage.shop.gateway(f"/charges?order={placed['id']}")["results"][0]["id"]
    opened = stage.at_gateway("/disputes", {"charge": charge})
    yield
    stage.at_gateway(f"/disputes/{opened['id']}/close", {"status": "won"})


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
        stage.require(coupon_call(stage.buyers[0], stage.campaign()), 201)
        stage.wait_for(1, f"{PENDING} AND refused_at IS NOT NULL")
        stage.age("refused_at", "2 HOUR", PENDING)
        yield
    stage.manage("replay_events --all")


@cause(1, "ConnectionsSaturated")
def many_connections(stage: Stage) -> Iterator[None]:
    """A client keeps 85 % of the connections to the database open, with those that the shop needs."""
    [[most]] = stage.sql("SELECT @@global.max_connections")
    [[_, connected]] = stage.sql("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    with ExitStack() as opened:
        for _ in range(int(most * 0.85) - int(connected)):
            opened.enter_context(database.connected(stage.instance))
        yield


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
        with stage.issuers_frozen():
            stage.require(coupon_call(stage.buyers[0], campaign), 202)
            stack.enter_context(stage.locked("coupons_campaign WHERE id = %s", campaign))
        yield


@cause(2, "SaleNotAdmitting", explains="LockWaits")
def locked_sale(stage: Stage) -> Iterator[None]:
    """A transaction keeps a sale locked in which an entry waits; SQL lets it open earlier."""
    sale = stage.shop.create_sale(stage.product(), in_seconds=3_600)
    stage.require(Call("POST", f"/sales/{sale}/entries", stage.buyers[0].token), 202)
    with stage.locked("sales_sale WHERE id = %s", sale, aged=("opens_at", "70 MINUTE")):
        yield


@cause(2, "OrdersOverdue", explains="LockWaits")
def locked_overdue_order(stage: Stage) -> Iterator[None]:
    """A transaction keeps an unpaid order locked whose time is over."""
    order = stage.require(order_call(stage.buyers[0], stage.product()), 201)["id"]
    with stage.locked("orders_order WHERE id = %s", order, aged=("expires_at", "1 DAY")):
        yield
    stage.wait_for(0, "orders_order WHERE status = 'awaiting_payment' AND id = %s", order)


@cause(2, "PartnerAway", explains=f"LatencyOverGoal {FAILED}")
def partner_stopped(stage: Stage) -> Iterator[None]:
    """The partner is stopped while coupons of its campaign are asked for."""
    campaign = stage.campaign(partner="convenience_store")
    with stage.lasting("down", "partner"), stage.load(3, coupon_call, campaign=campaign):
        yield


@cause(2, f"LockWaits {FAILED}", explains="LatencyOverGoal")
def locked_product(stage: Stage) -> Iterator[None]:
    """A transaction keeps a product locked that orders are placed for."""
    product = stage.product()
    with (
        stage.load(20, order_call, product=product),
        stage.locked("inventory_product WHERE id = %s", product),
    ):
        yield


@cause(3, "ThreadsSaturated", explains=f"LockWaits LatencyOverGoal {FAILED}")
def locked_campaigns(stage: Stage) -> Iterator[None]:
    """Transactions keep campaigns of the strategy `pessimistic` locked that coupons are asked of."""
    # Each request waits for its campaign in a thread; one campaign may have half of a process's threads, and
    # the processes may share the connections unevenly.
    with ExitStack() as stack:
        for campaign in [stage.campaign("pessimistic") for _ in range(3)]:
            stack.enter_context(stage.locked("coupons_campaign WHERE id = %s", campaign))
            stack.enter_context(stage.load(12, coupon_call, campaign=campaign))
        yield


@cause(4, "PaymentInDoubt SagaStuck ReconciliationOverdue")
def gateway_stopped(stage: Stage) -> Iterator[None]:
    """The gateway is stopped while orders are paid; SQL adds to their and the comparisons' age; removed by
    `retry_saga --all-stuck`."""
    product, in_doubt = stage.product(), "payments_payment WHERE status = 'in_doubt'"
    with stage.lasting("down", "gateway"):
        for account in stage.buyers[:3]:
            stage.require(order_call(account, product, card="tok_ok"), 202)
        stage.wait_for(3, in_doubt)
        stage.age("created_at", "10 MINUTE", in_doubt)
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
        stage.require(coupon_call(stage.buyers[0], stage.campaign()), 201)
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


@cause(6, "LatencyOverGoal")
def slow_gateway(stage: Stage) -> Iterator[None]:
    """The gateway takes 2.6 s for each call while orders wait for their payment."""
    paid = {"product": stage.product(), "card": "tok_ok", "wait": 20}
    with stage.lasting("slow", "gateway"), stage.load(8, order_call, **paid):
        yield
