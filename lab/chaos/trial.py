"""A trial of the shop: clients that record every answer, faults, and a comparison."""

import argparse
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from lab.chaos import availability, comparison, faults, feed, monitoring, outages, outside, webhooks
from lab.chaos.calls import Call, Observations
from lab.chaos.clients import PATIENCE_SECONDS, at_work, await_final_answer, staff_and_buyers
from lab.chaos.faults import Fault
from lab.chaos.memory import Drop, RecordedCall, Setup
from lab.chaos.shop import Shop
from scripts.stack import (
    SetupError,
    database,
    own_stack,
    rabbitmq,
    supervision,
    waiting,
)
from scripts.stack.instance import Instance
from scripts.stack.programs import faketime
from scripts.stack.programs.prometheus import Prometheus
from scripts.stack.rabbitmq import RunningNode

SETTINGS = {
    "PAYMENT_GIVE_UP_SECONDS": "15",
    "PAYMENT_ACTION_SECONDS": "10",
    "ORDER_HOLD_SECONDS": "20",
    "IDEMPOTENCY_LEASE_SECONDS": "5",
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    # One clerk grants for hours.
    "GRANT_DAY_AMOUNT": "1000000000",
    "RECONCILE_SECONDS": "20",
    "AUDIT_SECONDS": "5",
    "PARTNER_FAILURE_RATE": "0",
    **own_stack.NO_RATES,
}
"""Short times, so that what is left undone ends within the trial; no limits on how often an account calls and
what it holds unpaid, for a few accounts buy here as much as many would; and a partner that fails only when a
fault makes it."""
BUYERS, ACCOUNTS_EACH = 7, 6
PRODUCTS, STOCK, PLENTY, COUPONS = 6, 150, 100_000, 30
"""What clients compete for in a minute."""
FEW_COUPONS = 4
"""So many sell out at once."""
SALE_OPENS_SECONDS, SALE_RATE = 8, 12
"""Fewer are admitted in a minute than there are accounts."""
SETTLE_SECONDS = 330
"""A saga that has failed many times is retried after 300 s, whatever ended meanwhile."""
OPERATE_SECONDS = 20
REPLACED = "SELECT id FROM orders_saga WHERE state = 'stuck' AND last_error LIKE 'As much is refunded at%%'"
"""The refunds that the shop leaves to an operator, because one made by hand may be in their place."""
WAITING_TICKETS = "firstcome_queue_oldest_ticket_seconds > 0"


@dataclass(frozen=True)
class Trial:
    """What `make NAME` does where nothing else is asked. With outages, stores stay away for long at first.
    With long faults, the gateway gets slow and a worker's clock wrong beside all other faults. With all
    strategies, some campaigns need Redis, an issuer or a partner. A trial that is measured fails below the
    goal of availability, and on MariaDB has a Prometheus beside it, from which every dashboard is filled.
    With a sale, buyers also join the waiting room of one that opens a few seconds later, and order under
    admission. With customer actions, some pay by cards whose owner has to act, and keep orders on a decline.
    With restrictions, some campaigns have a shared code, a list of accounts, or a product.

    `pauses` is how many seconds a series pauses after each fault, from and to.
    """

    name: str
    database: str
    seconds: int
    has_outages: bool
    pauses: tuple[float, float]
    has_faults: bool = True
    has_long_faults: bool = False
    has_all_strategies: bool = False
    is_measured: bool = False
    has_sale: bool = False
    has_customer_actions: bool = False
    has_restrictions: bool = False


def main(trial: Trial) -> int:
    """The process behind `make NAME`; its exit code."""
    parser = argparse.ArgumentParser(prog=f"make {trial.name}", description="Crash the shop under load.")
    parser.add_argument("--db", default="", help=f"sqlite or mariadb ({trial.database})")
    brokers = ["", "redis", "rabbitmq"]
    parser.add_argument("--broker", default="", choices=brokers, help="redis or rabbitmq (redis)")
    parser.add_argument("--seconds", default="", help=f"how long faults are made ({trial.seconds})")
    parser.add_argument("--seed", default="", help="to have the same mix of calls and faults again")
    asked = parser.parse_args()
    if not (asked.seconds or "0").isdecimal():
        parser.error(f"SECONDS={asked.seconds} is not a whole number")
    seconds = int(asked.seconds or trial.seconds)
    seed = asked.seed or str(random.SystemRandom().randrange(10**6))

    def run(instance: Instance) -> int:
        with broker_beside(asked.broker, instance.home) as broker:
            return run_trial(trial, instance, seconds, seed, broker)

    database = asked.db or trial.database
    return own_stack.measure(trial.name, trial.name, run, database=database, keeps_failed=True)


def run_trial(
    trial: Trial, instance: Instance, seconds: int, seed: str, broker: RunningNode | None = None
) -> int:
    """Run the trial on a fresh stack; the exit code. Raises SetupError."""
    _say(f"{trial.name}: SEED={seed} SECONDS={seconds} DB={instance.database}")
    seen = Observations()
    if trial.has_long_faults and instance.database == "mariadb":
        faketime.require()
    settings = SETTINGS | (broker.settings if broker else {})
    with own_stack.running(instance, **settings), _monitored(trial, instance) as prometheus:
        began_at = time.time()
        setup, shop = set_up(trial, instance, seen, minutes=max(1, seconds // 60))
        if trial.has_outages:
            outages.OutageClient(instance, setup, seen).run()
        if prometheus:
            _request_coupons(instance, setup, shop, prometheus)
            _join_a_sale(setup, shop)
        reader = feed.FeedReader(port=instance.port, token=shop.token, seed=seed, seen=seen)
        _load(trial, instance, setup, reader, seconds, seed, broker)
        _availability(trial, seen)
        settle(setup, shop, seen, operate=partial(record_replaced_refunds, instance))
        if prometheus:
            for finding in monitoring.empty_queries(prometheus, since=began_at):
                seen.record_finding(finding)
        _say(shop.sums(setup))
        check_processes(instance, broker, seen)
        audit(instance, seen)
        check(setup, shop, reader)
    _say(summary(setup, seen))
    for finding in seen.findings:
        _say(f"FINDING {finding}")
    _say(f"{trial.name}: " + (f"{len(seen.findings)} findings, SEED={seed}" if seen.findings else "passed"))
    return 1 if seen.findings else 0


def record_replaced_refunds(instance: Instance) -> None:
    """Record refunds as done in whose place a clerk gave back as much at the gateway: an operator decides."""
    for (saga_id,) in database.rows(instance, REPLACED) if instance.database == "mariadb" else ():
        ran = own_stack.manage(instance, f"complete_saga {saga_id} --reason given-back-at-the-gateway")
        _say(f"complete_saga: {ran.stdout}{ran.stderr}")


def check(setup: Setup, shop: Shop, reader: feed.FeedReader | None) -> None:
    """Compare all answers with the shop, the outside systems and the feed; each difference is a finding."""
    compared = [comparison.findings(setup, shop), outside.findings(setup, shop)]
    compared += [feed.findings(setup, shop, reader)] if reader else []
    for finding in chain.from_iterable(compared):
        shop.seen.record_finding(finding)


def broker_beside(kind: str, home: Path) -> AbstractContextManager[RunningNode | None]:
    """The RabbitMQ beside the trial, where it is the broker."""
    return rabbitmq.running(home / "rabbitmq") if kind == "rabbitmq" else nullcontext()


def _monitored(trial: Trial, instance: Instance) -> AbstractContextManager[Prometheus | None]:
    """The Prometheus beside the trial. The exporters and some figures of the dashboards are MariaDB's."""
    if trial.is_measured and instance.database == "mariadb":
        return monitoring.beside(instance)
    return nullcontext()


def set_up(
    trial: Trial,
    instance: Instance,
    seen: Observations,
    *,
    minutes: int,
    manage: own_stack.Manage = own_stack.manage,
) -> tuple[Setup, Shop]:
    """Accounts with points, products that can run out, campaigns that can sell out: enough for so long."""
    known = own_stack.seed(instance, BUYERS * ACCOUNTS_EACH, manage=manage)
    shop = Shop(instance, known["staff"], seen)
    setup = shop.stocked(known, "Trial", products=PRODUCTS, on_hand=STOCK * minutes, plenty=PLENTY)
    setup.campaigns = create_campaigns(trial, shop, minutes)
    setup.drop = create_drop(shop) if trial.has_sale else None
    setup.has_customer_actions = trial.has_customer_actions
    setup.gateway_port = instance.gateway_port if trial.has_customer_actions else None
    if trial.has_restrictions:
        create_restricted_campaigns(setup, shop)
    for account in setup.buyers:
        account.shared_codes = setup.shared_codes
    return setup, shop


def create_restricted_campaigns(setup: Setup, shop: Shop) -> None:
    """Two with shared codes, one for first orders; one for every other buyer; one for a product."""
    for code, is_first in (("TO-ALL", False), ("TO-FIRST-ORDERS", True)):
        terms: dict[str, Any] = {"code_source": "shared", "shared_code": code, "first_order_only": is_first}
        setup.shared_codes[code] = shop.create_campaign("Trial", quantity=COUPONS, **terms)
    listing = shop.create_campaign("Trial", strategy="pessimistic", quantity=COUPONS, eligible="listed")
    setup.listed[listing] = {account.id for account in setup.buyers[::2]}
    shop.call("POST", f"/campaigns/{listing}/eligible-accounts", {"users": sorted(setup.listed[listing])})
    products = [setup.products[0].id]
    limited = shop.create_campaign("Trial", quantity=COUPONS, products=products)
    setup.campaigns += [*setup.shared_codes.values(), listing, limited]


def create_drop(shop: Shop) -> Drop:
    """A sale of plenty that opens in some seconds, so that its first entries are drawn.

    Admitted entries don't expire before the trial ends: then an account that joins once more, because it got
    no answer, gets the same entry, and each entry has been in an answer.
    """
    product = shop.create_product("Trial", PRODUCTS + 1, PLENTY)
    sale = shop.create_sale(
        product.id,
        in_seconds=SALE_OPENS_SECONDS,
        rate_per_minute=SALE_RATE,
        admitted_for_seconds=7 * 24 * 3_600,
    )
    return Drop(sale, product)


def create_campaigns(trial: Trial, shop: Shop, minutes: int) -> list[int]:
    """The ids of new campaigns of each strategy of the trial, as many as sell for so long."""
    return [shop.create_campaign("Trial", **terms) for terms in _campaigns(trial, minutes)]


def _campaigns(trial: Trial, minutes: int) -> list[dict[str, Any]]:
    """What each campaign has of its own."""
    strategies = ("group_commit", "pessimistic") * minutes
    if trial.has_all_strategies:
        strategies += ("queue", "fair_lock", "spin_lock", "optimistic", "conditional_update")
    found: list[dict[str, Any]] = [{"strategy": one, "quantity": COUPONS} for one in strategies]
    if trial.has_all_strategies:
        found.append({"strategy": "code_pool", "quantity": COUPONS, "code_source": "pool"})
        found.append({"strategy": "redis_gate", "quantity": FEW_COUPONS})
        partner = {"partner": "convenience_store", "quantity": FEW_COUPONS}
        found.append({"strategy": "group_commit", **partner})
    return found


def _request_coupons(instance: Instance, setup: Setup, shop: Shop, prometheus: Prometheus) -> None:
    """Make what the dashboards show of coupons and the load may leave out: refusals, and a ticket that waits.

    So many accounts ask for a coupon of each campaign that those with few sell out. No issuer runs until
    Prometheus has seen the tickets.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    with faults.lasting(Fault("down", "issuer", 0), instance):
        for account in setup.buyers[: FEW_COUPONS + 1]:
            for campaign in setup.campaigns:
                call = Call("POST", "/coupons", account.token, {"campaign": campaign})
                answer = shop.connection.call_until_final(call, until=until)
                account.calls.append(RecordedCall("coupon", call, answer))
        while not prometheus.query(WAITING_TICKETS) and time.monotonic() < until:
            time.sleep(1)


def _join_a_sale(setup: Setup, shop: Shop) -> None:
    """Make what the dashboards show of waiting rooms: all buyers join a sale that admits one a minute.

    Its product is none of those that the load buys, which an order could then not have without an entry.
    """
    sale = shop.create_sale(shop.create_product("Sale", 0, PLENTY).id, rate_per_minute=1)
    until = time.monotonic() + PATIENCE_SECONDS
    for account in setup.buyers:
        shop.connection.call_until_final(Call("POST", f"/sales/{sale}/entries", account.token), until=until)


def _load(
    trial: Trial,
    instance: Instance,
    setup: Setup,
    reader: feed.FeedReader,
    seconds: int,
    seed: str,
    broker: RunningNode | None,
) -> None:
    """Run clients while faults are made; returns once every client has the answer to its last call."""
    seen = reader.seen
    seen.measured = availability.Measurement()
    ends_at = time.monotonic() + seconds
    clients = [
        *staff_and_buyers(setup, count=BUYERS, port=instance.port, seed=seed, ends_at=ends_at, seen=seen),
        webhooks.WebhookSender(instance, seed=f"{seed} sender", seen=seen),
        reader,
    ]
    all_series = _all_series(trial, instance, broker)
    with ThreadPoolExecutor(len(all_series) + 1) as threads, at_work(clients) as stop:
        injecting = [
            threads.submit(faults.inject_until, ends_at, series, instance=instance, seed=seed, seen=seen)
            for series in all_series
        ]
        count = sum(one.result() for one in injecting)
        stop.wait(ends_at - time.monotonic())
    _say(f"{count} faults")


def _all_series(trial: Trial, instance: Instance, broker: RunningNode | None) -> list[faults.FaultSeries]:
    """The series of faults that run at once; none in a trial without faults."""
    if not trial.has_faults:
        return []
    found = faults.all_series(instance.database, pauses=trial.pauses, has_long_faults=trial.has_long_faults)
    return found + ([faults.broker_series(broker, pauses=trial.pauses)] if broker else [])


def _availability(trial: Trial, seen: Observations) -> None:
    """Print how many requests were answered as they should; below the goal that is a finding."""
    measured = seen.measured
    _say(f"outages for {measured.outage_seconds():.0f} s, {len(measured.outages)} in all")
    shares = measured.shares()
    for name, share in shares.items():
        _say(f"availability {name}: {share}")
    if trial.is_measured and shares["outside of outages"].value < availability.GOAL:
        seen.record_finding(f"the availability outside of outages is below {availability.GOAL:.1%}")


def settle(
    setup: Setup,
    shop: Shop,
    seen: Observations,
    *,
    within_seconds: float = SETTLE_SECONDS,
    operate: Callable[[], None] = lambda: None,
    awaits_answers: bool = True,
) -> float:
    """Wait until everything is settled, and every client has the final answer of its payments.

    `operate` is called every `OPERATE_SECONDS` meanwhile. Returns how many seconds the former took. With
    a planted defect there may never be a final answer: then `awaits_answers` is False.
    """
    started = time.monotonic()
    operate_at = started
    while left := shop.unsettled(setup):
        if time.monotonic() >= operate_at:
            operate()
            operate_at = time.monotonic() + OPERATE_SECONDS
        if time.monotonic() - started > within_seconds:
            seen.record_finding(
                f"not settled {within_seconds:.0f} s after the last fault: {'; '.join(left[:10])}"
            )
            break
        time.sleep(1)
    seconds = time.monotonic() - started
    _say(f"settled {seconds:.1f} s after the last answer")
    if awaits_answers:
        await_final_answers(setup, shop, seen)
    return seconds


def await_final_answers(setup: Setup, shop: Shop, seen: Observations) -> None:
    """Repeat calls of buyers that are open until they are answered for good; else that is a finding."""
    for account in setup.buyers:
        for made in account.calls:
            for finding in await_final_answer(made, shop.connection):
                seen.record_finding(finding)


def check_processes(instance: Instance, broker: RunningNode | None, seen: Observations) -> None:
    """Every process runs, for supervisor restarted each that died; and the worker is back at its broker."""
    for name, state in supervision.states(instance).items():
        if state != "RUNNING":
            seen.record_finding(f"{name} is {state} in the end")
    # Each attempt of a worker to connect again waits two seconds longer than the one before.
    if broker and waiting.left(
        lambda: not rabbitmq.has_worker(broker.node.url), within_seconds=PATIENCE_SECONDS, pause_seconds=0.5
    ):
        seen.record_finding("no worker takes messages from RabbitMQ in the end")


def audit(instance: Instance, seen: Observations) -> None:
    """Check every law; one that is broken is a finding."""
    try:
        laws = own_stack.audit(instance)
    except SetupError as error:
        seen.record_finding(str(error))
        return
    for finding in own_stack.broken(laws):
        seen.record_finding(finding)
    _say(f"audit: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")


def summary(setup: Setup, seen: Observations) -> str:
    """How many answers of each kind, and the slowest of each."""
    lines = [
        f"{count:7} x {sort:32} at most {seen.slowest[sort]:5.1f} s"
        for sort, count in sorted(seen.statuses.items())
    ]
    done = [made for account in [setup.staff, *setup.buyers] for made in account.calls if made.was_done]
    return "\n".join([*lines, f"{len(done)} calls had an effect"])


def _say(text: str) -> None:
    print(text, flush=True)
