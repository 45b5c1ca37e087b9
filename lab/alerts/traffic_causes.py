"""Causes that requests meet: declined cards, locked rows, and outside systems that are away or refuse."""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from lab.alerts import process_causes
from lab.alerts.stage import Stage, undone, wait_until
from lab.chaos import faults
from lab.chaos.calls import Call
from lab.chaos.faults import Fault
from scripts.simulators import books
from scripts.stack import SetupError, children, ports, processes, readiness, supervision

PARTNER = "convenience_store"
REFUSED = "coupon.issued"
SIMULATOR_SECONDS, SETTLE_SECONDS = 30, 60
UNSETTLED = "SELECT COUNT(*) FROM payments_payment WHERE status IN ('pending', 'in_doubt')"
RAISE_AGE_OF_PAYMENTS = """
UPDATE payments_payment SET created_at = created_at - INTERVAL 10 MINUTE WHERE status = 'in_doubt'
"""
RAISE_AGE_OF_COMPARISONS = """
UPDATE payments_reconciliation
SET started_at = started_at - INTERVAL 2 HOUR, ended_at = ended_at - INTERVAL 2 HOUR
"""
RAISE_AGE_OF_EVENTS = (
    "UPDATE events_webhookdelivery SET created_at = created_at - INTERVAL 10 MINUTE WHERE status = 'pending'"
)
RAISE_AGE_OF_REFUSALS = """
UPDATE events_webhookdelivery SET refused_at = refused_at - INTERVAL 2 HOUR WHERE status = 'pending'
"""
OPEN_EARLIER = "UPDATE sales_sale SET opens_at = UTC_TIMESTAMP(6) - INTERVAL 10 MINUTE WHERE id = %s"
ADMITTED = "SELECT passed_position FROM sales_sale WHERE id = %s"
ATTEMPTS = 5
QUEUED = "SELECT COUNT(*) FROM events_webhookdelivery WHERE status = 'pending'"
REFUSALS = f"{QUEUED} AND refused_at IS NOT NULL"


def declined_cards(stage: Stage) -> AbstractContextManager[None]:
    product = stage.product()
    return stage.load(lambda account: stage.order_call(account, product, card="tok_declined"), clients=6)


@contextmanager
def slow_gateway(stage: Stage) -> Iterator[None]:
    product = stage.product()
    with (
        faults.lasting(Fault("slow", "gateway", 0), stage.instance),
        stage.load(lambda account: stage.order_call(account, product, card="tok_ok", wait=20), clients=8),
    ):
        yield


@contextmanager
def locked_product(stage: Stage) -> Iterator[None]:
    product = stage.product()
    with (
        stage.load(lambda account: stage.order_call(account, product), clients=20),
        stage.locked("SELECT id FROM inventory_product WHERE id = %s FOR UPDATE", product),
    ):
        yield


@contextmanager
def locked_campaigns(stage: Stage) -> Iterator[None]:
    """Each request waits for its campaign in a thread; one campaign may have half of the threads."""
    campaigns = [stage.campaign("pessimistic") for _ in range(3)]
    with ExitStack() as stack:
        for campaign in campaigns:
            stack.enter_context(_locked_campaign(stage, campaign))
            stack.enter_context(_coupons(stage, campaign, clients=6))
        yield


@contextmanager
def locked_queue(stage: Stage) -> Iterator[None]:
    """The ticket is drawn before the lock, which it would wait for, and while no issuer can serve it."""
    campaign = stage.campaign("queue")
    with ExitStack() as stack:
        with process_causes.issuers_frozen(stage):
            stage.require(stage.coupon_call(stage.buyers[0], campaign), status=202)
            stack.enter_context(_locked_campaign(stage, campaign))
        yield


@contextmanager
def locked_sale(stage: Stage) -> Iterator[None]:
    """The entry joins before the sale opens, which is then locked before a process admits the entry."""
    product = stage.product()
    for buyer in stage.buyers[:ATTEMPTS]:
        sale = stage.sale(product)
        stage.require(Call("POST", f"/sales/{sale}/entries", buyer.token), status=202)
        stage.execute(OPEN_EARLIER, sale)
        with stage.locked("SELECT id FROM sales_sale WHERE id = %s FOR UPDATE", sale):
            [[passed]] = stage.query(ADMITTED, sale)
            if not passed:
                yield
                return
        product = stage.product()
    raise SetupError(f"{ATTEMPTS} sales had admitted their entry before they were locked")


@contextmanager
def partner_stopped(stage: Stage) -> Iterator[None]:
    campaign = stage.campaign(partner=PARTNER)
    with faults.lasting(Fault("down", "partner", 0), stage.instance), _coupons(stage, campaign, clients=3):
        yield


@contextmanager
def foreign_charge(stage: Stage) -> Iterator[None]:
    made = _ask_gateway(stage, "/charges", {"token": "tok_ok", "amount": 1_000, "currency": "KRW"})
    # Comparisons leave out the last two minutes, in which a payment may not be recorded yet.
    began_at = books.written(datetime.now(UTC) - timedelta(minutes=10))
    with closing(sqlite3.connect(stage.instance.data / "gateway.sqlite3")) as book, book:
        book.execute("UPDATE charges SET created_at = ? WHERE id = ?", [began_at, made["id"]])
    with undone(lambda: stage.manage("reconcile --fix")):
        yield


@contextmanager
def disputed_charge(stage: Stage) -> Iterator[None]:
    """The owner of a card disputes a charge at the gateway, and the shop wins at the end."""
    call = stage.order_call(stage.buyers[0], stage.product(), card="tok_ok", wait=20)
    placed = stage.require(call, status=201)
    _, found = readiness.ask(stage.instance.gateway_port, "GET", f"/charges?order={placed['id']}")
    opened = _ask_gateway(stage, "/disputes", {"charge": json.loads(found)["results"][0]["id"]})
    with undone(lambda: _ask_gateway(stage, f"/disputes/{opened['id']}/close", {"status": "won"})):
        yield


def _ask_gateway(stage: Stage, path: str, body: dict[str, Any]) -> Any:
    """The JSON that the gateway answers, under a new key. Raises SetupError unless it is a success."""
    headers = {"Idempotency-Key": f"alerts-{uuid.uuid4()}", "Content-Type": "application/json"}
    status, text = readiness.ask(stage.instance.gateway_port, "POST", path, json.dumps(body), headers)
    if status not in (200, 201):
        raise SetupError(f"{path} of the gateway answered {status} {text}")
    return json.loads(text)


@contextmanager
def gateway_stopped(stage: Stage) -> Iterator[None]:
    """Afterwards all payments settle."""
    product = stage.product()
    with faults.lasting(Fault("down", "gateway", 0), stage.instance):
        for account in stage.buyers[:3]:
            stage.require(stage.order_call(account, product, card="tok_ok"), status=202)
        wait_until(
            lambda: stage.query(f"{UNSETTLED} AND status = 'in_doubt'")[0][0] == 3,
            what="three payments are in doubt",
            within_seconds=SETTLE_SECONDS,
        )
        stage.execute(RAISE_AGE_OF_PAYMENTS)
        stage.execute(RAISE_AGE_OF_COMPARISONS)
        yield
    # As the runbook says: by then the next attempt of a stuck saga may be minutes away. One that has ended
    # meanwhile is refused.
    with suppress(SetupError):
        stage.manage("retry_saga --all-stuck --by alerts --reason recovered")
    wait_until(
        lambda: stage.query(UNSETTLED)[0][0] == 0,
        what="the payments settle once the gateway is back",
        within_seconds=SETTLE_SECONDS,
    )


@contextmanager
def data_platform_stopped(stage: Stage) -> Iterator[None]:
    with faults.lasting(Fault("down", "sink", 0), stage.instance):
        _issue_one_coupon(stage)
        wait_until(
            lambda: stage.query(QUEUED)[0][0] > 0, what="an event is queued", within_seconds=SIMULATOR_SECONDS
        )
        stage.execute(RAISE_AGE_OF_EVENTS)
        yield


@contextmanager
def refused_event(stage: Stage) -> Iterator[None]:
    """Another data platform, on the address of the stack's own, that does not take the event of a coupon."""
    supervision.stop(stage.instance, "sink")
    try:
        with _refusing_data_platform(stage):
            _issue_one_coupon(stage)
            wait_until(
                lambda: stage.query(REFUSALS)[0][0] > 0,
                what="an event is refused",
                within_seconds=SIMULATOR_SECONDS,
            )
            stage.execute(RAISE_AGE_OF_REFUSALS)
            yield
    finally:
        supervision.start(stage.instance, ["sink"])
    stage.manage("replay_events --all")


def _refusing_data_platform(stage: Stage) -> AbstractContextManager[object]:
    port, log = stage.instance.data_platform_port, stage.instance.logs / "refusing-sink.log"
    command = processes.simulator("data_platform", port, stage.instance.data / "refusing.sqlite3")
    command += ["--refuse-type", REFUSED]
    return children.running(
        command,
        name="a data platform that refuses",
        log=log,
        is_ready=(ports.HOST, port),
        environment=supervision.environment(stage.instance),
    )


def _issue_one_coupon(stage: Stage) -> None:
    stage.require(stage.coupon_call(stage.buyers[0], stage.campaign()), status=201)


def _locked_campaign(stage: Stage, campaign: int) -> AbstractContextManager[None]:
    return stage.locked("SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE", campaign)


def _coupons(stage: Stage, campaign: int, *, clients: int) -> AbstractContextManager[None]:
    return stage.load(lambda account: stage.coupon_call(account, campaign), clients=clients)
