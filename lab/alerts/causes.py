"""The causes of alerts that need code; `catalog` says what each one is."""

import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta

from lab.alerts.stage import Block, Stage
from lab.calls import Account, Call, coupon_call, order_call
from lab.stack import database
from scripts.simulators import books
from scripts.stack import SetupError, children, ports, processes, supervision

Blocks = Iterable[Block]
LARGE_DISCOUNT = 20_000_000
TAKEN_SHARE = 0.85  # Of the connections to the database
PENDING = "events_webhookdelivery WHERE status = 'pending'"
LATE = "events_feedevent WHERE position IS NULL AND run_offset = 0"
# A webhook endpoint of this id. Its address is the host's own, which is refused.
ENDPOINT = """
INSERT INTO events_webhookendpoint (id, kind, url, events, description, secret, owner_id,
    position, created_at, failures, disabled_by, lease_token)
SELECT %s, 'program', 'http://127.0.0.1:9/', '["*"]', 'alerts', 'whsec_YWxlcnRzYWxlcnRzYWxlcnRz',
    (SELECT MIN(id) FROM auth_user WHERE is_superuser), last_position, UTC_TIMESTAMP(6), 0, '', ''
FROM events_feedstate
"""


def after(act: Callable[..., object], *arguments: object) -> ExitStack:
    """A block that ends with this."""
    block = ExitStack()
    block.callback(act, *arguments)
    return block


def declined_cards(stage: Stage) -> Blocks:
    return [stage.load(6, order_call, product=stage.product(), card="tok_declined")]


def large_discounts(stage: Stage) -> Blocks:
    product = stage.product()
    stage.sql("UPDATE inventory_product SET price = %s WHERE id = %s", LARGE_DISCOUNT + 1_000, product)
    campaign = stage.campaign(discount={"type": "amount", "value": LARGE_DISCOUNT})
    coupon = stage.ask(coupon_call(stage.buyers[0], campaign))["code"]
    call = order_call(stage.buyers[0], product, card="tok_ok", wait=20)
    placed = stage.ask(call._replace(body={**call.body, "coupon": coupon}))
    yield after(stage.age, "paid_at", "2 DAY", "orders_order WHERE id = %s", placed["id"])


def orders_of_staff(stage: Stage) -> Blocks:
    product = stage.product()
    # Orders refuse a price to the operator who set it.
    stage.sql("DELETE FROM shop_journalline WHERE subject = %s", f"product {product}")
    yield stage.load(6, lambda _buyer: order_call(Account(0, stage.shop.token), product))


def failing_endpoints(stage: Stage) -> Blocks:
    endpoints = "events_webhookendpoint WHERE id = %s"
    deliveries = "events_webhookdelivery WHERE endpoint_id = %s"
    ageing = (("created_at", "2 HOUR", deliveries), ("failing_since", "4 DAY", endpoints))
    for column, interval, rows in ageing:
        endpoint = str(uuid.uuid4())
        yield after(stage.sql, f"DELETE FROM {endpoints}", endpoint)  # noqa: S608
        yield after(stage.sql, f"DELETE FROM {deliveries}", endpoint)  # noqa: S608
        stage.sql(ENDPOINT, endpoint)
        stage.product()  # An event is to be sent to it.
        stage.wait_for(1, f"{endpoints} AND failing_since IS NOT NULL", endpoint)
        stage.age(column, interval, rows, endpoint)


def odd_charges(stage: Stage) -> Blocks:
    made = stage.at_gateway("/charges", {"token": "tok_ok", "amount": 1_000, "currency": "KRW"})
    # Comparisons leave out the last two minutes, in which a payment may not be recorded yet.
    began_at = books.written(datetime.now(UTC) - timedelta(minutes=10))
    with closing(sqlite3.connect(stage.instance.data / "gateway.sqlite3")) as book, book:
        book.execute("UPDATE charges SET created_at = ? WHERE id = ?", [began_at, made["id"]])
    yield after(stage.manage, "reconcile --fix")
    placed = stage.ask(order_call(stage.buyers[0], stage.product(), card="tok_ok", wait=20))
    charge = stage.shop.gateway(f"/charges?order={placed['id']}")["results"][0]["id"]
    opened = stage.at_gateway("/disputes", {"charge": charge})
    yield after(stage.at_gateway, f"/disputes/{opened['id']}/close", {"status": "won"})


def refused_event(stage: Stage) -> Blocks:
    instance = stage.instance
    name = "refusing-data-platform"
    port = instance.data_platform_port
    book = instance.data / "refusing.sqlite3"
    words = [*processes.simulator("data_platform", port, book), "--refuse-type", "coupon.issued"]
    own = supervision.environment(instance)
    log = instance.logs / f"{name}.log"
    yield after(stage.manage, "replay_events --all")
    yield stage.lasting("down", "sink")
    yield children.running(words, name=name, log=log, is_ready=(ports.HOST, port), environment=own)
    stage.ask(coupon_call(stage.buyers[0], stage.campaign()))
    stage.wait_for(1, f"{PENDING} AND refused_at IS NOT NULL")
    stage.age("refused_at", "2 HOUR", PENDING)


def many_connections(stage: Stage) -> Blocks:
    most = database.value(stage.instance, "SELECT @@global.max_connections")
    connected = database.status(stage.instance, "Threads_connected")
    return [database.connected(stage.instance) for _ in range(int(most * TAKEN_SHARE) - connected)]


def locked_rows(stage: Stage) -> Blocks:
    campaign = stage.campaign("queue")
    sale = stage.shop.create_sale(stage.product(), in_seconds=3_600)
    stage.ask(Call("POST", f"/sales/{sale}/entries", stage.buyers[0].token))
    order = stage.ask(order_call(stage.buyers[0], stage.product()))["id"]
    yield after(stage.wait_for, 0, LATE)
    yield after(stage.wait_for, 0, "orders_order WHERE status = 'awaiting_payment' AND id = %s", order)
    yield stage.locked("orders_order WHERE id = %s", order, aged=("expires_at", "1 DAY"))
    yield stage.locked("sales_sale WHERE id = %s", sale, aged=("opens_at", "70 MINUTE"))
    # The ticket is drawn before the lock, which it would wait for, and while no issuer can serve it.
    with stage.lasting("freeze", "issuer"):
        stage.ask(coupon_call(stage.buyers[0], campaign))
        yield stage.locked("coupons_campaign WHERE id = %s", campaign)
    yield stage.locked("events_feedstate")
    # Sequencers leave at once while the row is locked.
    stage.product()
    stage.age("at", "10 MINUTE", LATE)


def partner_stopped(stage: Stage) -> Blocks:
    campaign = stage.campaign(partner="convenience_store")
    return [stage.lasting("down", "partner"), stage.load(3, coupon_call, campaign=campaign)]


def locked_product(stage: Stage) -> Blocks:
    product = stage.product()
    return [
        stage.load(20, order_call, product=product),
        stage.locked("inventory_product WHERE id = %s", product),
    ]


def locked_campaigns(stage: Stage) -> Blocks:
    # Each request waits for its campaign in a thread; one campaign may have half of a process's threads, and
    # the processes may share the connections unevenly.
    for campaign in [stage.campaign("pessimistic") for _ in range(3)]:
        yield stage.locked("coupons_campaign WHERE id = %s", campaign)
        yield stage.load(12, coupon_call, campaign=campaign)


def outside_stopped(stage: Stage) -> Blocks:
    product = stage.product()
    in_doubt = "payments_payment WHERE status = 'in_doubt'"
    yield after(stage.wait_for, 0, "payments_payment WHERE status IN ('pending', 'in_doubt')")
    # As the runbook says: by then the next attempt of a stuck saga may be minutes away. One that has ended
    # meanwhile is refused.
    yield suppress(SetupError)
    yield after(stage.manage, "retry_saga --all-stuck --by alerts --reason recovered")
    yield stage.lasting("down", "gateway")
    yield stage.lasting("down", "sink")
    stage.ask(coupon_call(stage.buyers[0], stage.campaign()))
    for account in stage.buyers[:3]:
        stage.ask(order_call(account, product, card="tok_ok"))
    stage.wait_for(3, in_doubt)
    stage.wait_for(1, PENDING)
    for rows in (in_doubt, PENDING):
        stage.age("created_at", "10 MINUTE", rows)
    for column in ("started_at", "ended_at"):
        stage.age(column, "2 HOUR", "payments_reconciliation")


def consumer_cancelled(stage: Stage) -> Blocks:
    def control(command: str) -> None:
        # By Celery's own remote control, as an operator may do it and forget it.
        words = [sys.executable, "-m", "celery", "-A", "shop", "control", command, "celery"]
        children.printed(
            children.run(words, within_seconds=60, environment=supervision.environment(stage.instance))
        )

    control("cancel_consumer")
    return [after(control, "add_consumer")]


def buyers_wait(stage: Stage) -> Blocks:
    yield after(stage.wait_for, 0, "orders_saga WHERE next_attempt_at IS NOT NULL")
    yield stage.load(2, order_call, product=stage.product(), card="tok_ok")
    yield stage.lasting("freeze", "worker")


def slow_gateway(stage: Stage) -> Blocks:
    paid = {"product": stage.product(), "card": "tok_ok", "wait": 20}
    return [stage.lasting("slow", "gateway"), stage.load(8, order_call, **paid)]
