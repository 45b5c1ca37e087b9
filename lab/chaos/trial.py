"""A trial of the shop: clients that record every answer, faults, and a comparison."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from lab.chaos import clients, comparison, dashboard_queries, faults, outages
from lab.chaos.calls import GOAL, MEASURED, Call, Measurement, Observations
from lab.chaos.clients import PATIENCE_SECONDS, FeedReader
from lab.chaos.faults import Fault
from lab.chaos.memory import Drop, RecordedCall, Setup
from lab.chaos.shop import Shop
from lab.stack import database, faketime
from lab.stack.prometheus import Prometheus
from scripts.stack import SetupError, own_stack, rabbitmq, supervision, waiting
from scripts.stack.instance import Instance
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
PRODUCTS, STOCK, PLENTY, COUPONS, FEW_COUPONS = 6, 150, 100_000, 30, 4
"""What clients compete for in a minute; of a few coupons the requests for dashboards sell out at once."""
STRATEGIES: tuple[dict[str, Any], ...] = (
    *({"strategy": one} for one in ("queue", "fair_lock", "spin_lock", "optimistic", "conditional_update")),
    {"strategy": "code_pool", "code_source": "pool"},
    {"strategy": "redis_gate", "quantity": FEW_COUPONS},
    {"partner": "convenience_store", "quantity": FEW_COUPONS},
)
"""Campaigns that need Redis, an issuer or a partner."""
SALE = {"in_seconds": 8, "rate_per_minute": 12, "admitted_for_seconds": 7 * 24 * 3_600}
"""It opens in some seconds, so that its first entries are drawn; fewer are admitted in a minute than there
are accounts. Admitted entries don't expire before the trial ends: then an account that joins once more,
because it got no answer, gets the same entry, and each entry has been in an answer."""
SETTLE_SECONDS, OPERATE_SECONDS = 330, 20
"""A saga that has failed many times is retried after 300 s, whatever ended meanwhile."""
REPLACED = "SELECT id FROM orders_saga WHERE state = 'stuck' AND last_error LIKE 'As much is refunded at%%'"
"""The refunds that the shop leaves to an operator, because one made by hand may be in their place."""
WAITING_TICKETS = "firstcome_queue_oldest_ticket_seconds > 0"


@dataclass(frozen=True)
class Trial:
    """What `make NAME` does where nothing else is asked.

    `pauses` is how many seconds a series of faults pauses after each, from and to. With outages, stores stay
    away for long at first. A trial that is measured also has a slow gateway and a worker with a wrong clock,
    fails below the goal of availability, and on MariaDB has a Prometheus beside it, from which every
    dashboard is filled. With a sale buyers also join its waiting room and order under admission. With
    customer actions some pay by cards whose owner has to act, and keep orders on a decline. With
    restrictions some campaigns have a shared code, a list of accounts, or a product.
    """

    name: str
    database: str
    seconds: int
    pauses: tuple[float, float]
    has_outages: bool = False
    has_faults: bool = True
    has_all_strategies: bool = False
    is_measured: bool = False
    has_sale: bool = False
    has_customer_actions: bool = False
    has_restrictions: bool = False


def run_trial(
    trial: Trial, instance: Instance, seconds: int, seed: str, broker: RunningNode | None = None
) -> int:
    """Run the trial on a fresh stack; the exit code. Raises SetupError."""
    say(f"{trial.name}: SEED={seed} SECONDS={seconds} DB={instance.database}")
    seen = Observations()
    # The exporters, some figures of the dashboards, and a clock beside those of processes are MariaDB's.
    is_watched = trial.is_measured and instance.database == "mariadb"
    if is_watched:
        faketime.require()
    watching: AbstractContextManager[Prometheus | None]
    watching = dashboard_queries.beside(instance) if is_watched else nullcontext()
    with (
        own_stack.running(instance, **SETTINGS, **(broker.settings if broker else {})),
        watching as prometheus,
    ):
        began_at = time.time()
        setup, shop = set_up(trial, instance, seen, minutes=max(1, seconds // 60))
        if trial.has_outages:
            outages.run(setup, shop)
        if prometheus:
            _fill_dashboards(instance, setup, shop, prometheus)
        reader = FeedReader(port=instance.port, token=shop.token, seed=seed, seen=seen)
        _load(trial, instance, setup, reader, seconds, seed, broker)
        report_availability(trial, seen)
        settle(setup, shop, seen, operate=partial(record_replaced_refunds, instance))
        if prometheus:
            for finding in dashboard_queries.empty_queries(prometheus, since=began_at):
                seen.record_finding(finding)
        say(shop.sums(setup))
        check_processes(instance, broker, seen)
        audit(instance, seen)
        check(setup, shop, reader)
    say(summary(setup, seen))
    for finding in seen.findings:
        say(f"FINDING {finding}")
    say(f"{trial.name}: " + (f"{len(seen.findings)} findings, SEED={seed}" if seen.findings else "passed"))
    return 1 if seen.findings else 0


def record_replaced_refunds(instance: Instance) -> None:
    """Record refunds as done in whose place a clerk gave back as much at the gateway: an operator decides."""
    for (saga_id,) in database.rows(instance, REPLACED) if instance.database == "mariadb" else ():
        ran = own_stack.manage(instance, f"complete_saga {saga_id} --reason given-back-at-the-gateway")
        say(f"complete_saga: {ran.stdout}{ran.stderr}")


def check(setup: Setup, shop: Shop, reader: FeedReader | None) -> None:
    """Compare all answers with the shop, the outside systems and the feed; each difference is a finding."""
    of_feed = comparison.of_feed(setup, shop, reader) if reader else ()
    for finding in chain(comparison.findings(setup, shop), of_feed):
        shop.seen.record_finding(finding)


def broker_beside(kind: str, home: Path) -> AbstractContextManager[RunningNode | None]:
    """The RabbitMQ beside the trial, where it is the broker."""
    return rabbitmq.running(home / "rabbitmq") if kind == "rabbitmq" else nullcontext()


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
        _create_restricted_campaigns(setup, shop)
    return setup, shop


def _create_restricted_campaigns(setup: Setup, shop: Shop) -> None:
    """Two with shared codes, one for first orders; one for every other buyer; one for a product."""
    create = partial(shop.create_campaign, "Trial", quantity=COUPONS)
    for code, is_first in (("TO-ALL", False), ("TO-FIRST-ORDERS", True)):
        terms: dict[str, Any] = {"code_source": "shared", "shared_code": code, "first_order_only": is_first}
        setup.shared_codes[code] = create(**terms)
    listing = create(strategy="pessimistic", eligible="listed")
    setup.listed[listing] = {account.id for account in setup.buyers[::2]}
    shop.call("POST", f"/campaigns/{listing}/eligible-accounts", {"users": sorted(setup.listed[listing])})
    limited = create(products=[setup.products[0].id])
    setup.campaigns += [*setup.shared_codes.values(), listing, limited]
    for account in setup.buyers:
        account.shared_codes = setup.shared_codes


def create_drop(shop: Shop) -> Drop:
    """A sale of plenty with a waiting room."""
    product = shop.create_product("Trial", PRODUCTS + 1, PLENTY)
    return Drop(shop.create_sale(product.id, **SALE), product)


def create_campaigns(trial: Trial, shop: Shop, minutes: int) -> list[int]:
    """The ids of new campaigns of each strategy of the trial, as many as sell for so long."""
    usual: list[dict[str, Any]] = [
        {"strategy": strategy} for strategy in ("group_commit", "pessimistic") * minutes
    ]
    terms = [*usual, *(STRATEGIES if trial.has_all_strategies else ())]
    return [shop.create_campaign("Trial", **{"quantity": COUPONS, **own}) for own in terms]


def _fill_dashboards(instance: Instance, setup: Setup, shop: Shop, prometheus: Prometheus) -> None:
    """Make what the dashboards show and the load may leave out: refusals, a ticket that waits, and a room.

    So many accounts ask for a coupon of each campaign that those with few sell out. No issuer runs until
    Prometheus has seen the tickets. All buyers join a sale that admits one a minute; its product is none of
    those that the load buys, which an order could then not have without an entry.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    with faults.lasting(Fault("down", "issuer", 0), instance):
        for account in setup.buyers[: FEW_COUPONS + 1]:
            for campaign in setup.campaigns:
                call = Call("POST", "/coupons", account.token, {"campaign": campaign})
                answer = shop.connection.call_until_final(call, until=until)
                account.calls.append(RecordedCall("coupon", call, answer))
        waiting.left(
            lambda: not prometheus.query(WAITING_TICKETS), within_seconds=PATIENCE_SECONDS, pause_seconds=1
        )
    sale = shop.create_sale(shop.create_product("Sale", 0, PLENTY).id, rate_per_minute=1)
    for account in setup.buyers:
        call = Call("POST", f"/sales/{sale}/entries", account.token)
        shop.connection.call_until_final(call, until=time.monotonic() + PATIENCE_SECONDS)


def _load(
    trial: Trial,
    instance: Instance,
    setup: Setup,
    reader: FeedReader,
    seconds: int,
    seed: str,
    broker: RunningNode | None,
) -> None:
    """Run clients while faults are made; returns once every client has the answer to its last call."""
    seen, ends_at = reader.seen, time.monotonic() + seconds
    seen.measured = Measurement()
    common: dict[str, Any] = {"port": instance.port, "ends_at": ends_at, "seen": seen}
    sender = clients.WebhookSender(instance, seed=f"{seed} sender", seen=seen)
    buying = clients.staff_and_buyers(setup, count=BUYERS, seed=seed, **common)
    all_series = faults.all_series(
        instance.database, trial.pauses, has_long_faults=trial.is_measured, has_broker=broker is not None
    )
    make = partial(faults.inject_until, ends_at, instance=instance, seed=seed, seen=seen, broker=broker)
    with ThreadPoolExecutor(len(all_series)) as threads, clients.at_work([*buying, sender, reader]) as stop:
        count = sum(threads.map(make, all_series)) if trial.has_faults else 0
        stop.wait(ends_at - time.monotonic())
    say(f"{count} faults")


def report_availability(trial: Trial, seen: Observations) -> None:
    """Print how many requests were answered as they should; below the goal that is a finding."""
    say(f"outages for {seen.measured.outage_seconds():.0f} s, {len(seen.measured.outages)} in all")
    for name, results in seen.measured.results().items():
        count, good = results.total(), results.pop("", 0)
        kinds = ", ".join(f"{number} x {result}" for result, number in results.most_common(5))
        share = good / count if count else 1.0
        say(f"availability {name}: {share:.3%} of {count} requests" + (f" ({kinds})" if kinds else ""))
        if trial.is_measured and name == MEASURED and share < GOAL:
            seen.record_finding(f"the availability outside of outages is below {GOAL:.1%}")


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
    started = operate_at = time.monotonic()
    while left := shop.unsettled(setup):
        if time.monotonic() >= operate_at:
            operate()
            operate_at = time.monotonic() + OPERATE_SECONDS
        if time.monotonic() - started > within_seconds:
            what = "; ".join(left[:10])
            seen.record_finding(f"not settled {within_seconds:.0f} s after the last fault: {what}")
            break
        time.sleep(1)
    seconds = time.monotonic() - started
    say(f"settled {seconds:.1f} s after the last answer")
    if awaits_answers:
        await_final_answers(setup, shop, seen)
    return seconds


def await_final_answers(setup: Setup, shop: Shop, seen: Observations) -> None:
    """Repeat calls of buyers that are open until they are answered for good; else that is a finding."""
    for made in (made for account in setup.buyers for made in account.calls):
        for finding in clients.await_final_answer(made, shop.connection):
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
    say(f"audit: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")


def summary(setup: Setup, seen: Observations) -> str:
    """How many answers of each kind, and the slowest of each."""
    sorts = sorted(seen.statuses.items())
    lines = [f"{count:7} x {sort:32} at most {seen.slowest[sort]:5.1f} s" for sort, count in sorts]
    done = sum(made.was_done for account in [setup.staff, *setup.buyers] for made in account.calls)
    return "\n".join([*lines, f"{done} calls had an effect"])


def say(text: str) -> None:
    print(text, flush=True)
