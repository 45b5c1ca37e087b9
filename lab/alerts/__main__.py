"""`python3 -m lab alerts`: each alert made to fire once by a real cause, and to clear once that is removed.

Ends with 1 when an alert does not fire or clear, goes to the wrong receiver, or fires without a cause that
explains it. The causes of a phase are made together, for each takes a while to be noticed, and removed
together, the last one first. What one inhibits is in another phase; what keeps the web processes busy comes
last in its own.
"""

import argparse
import itertools
import math
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from lab.alerts import stage as stages
from lab.alerts.stage import SLOWEST_SCRAPE_SECONDS, Block, Fired, Stage
from lab.calls import Call, coupon_call, order_call
from lab.stack import database
from scripts import alert_rules
from scripts.simulators import books
from scripts.stack import SetupError, children, own_stack, ports, processes, supervision, waiting
from scripts.stack.children import say
from scripts.stack.instance import Instance

QUIET_SECONDS, FIRE_SECONDS, CLEAR_SECONDS = 120, 90, 90
RECEIVERS = {"page": "pager", "ticket": "tickets"}
Blocks = Iterable[Block]
Breaks = Callable[[Stage], Blocks]
FAILED = "ErrorRate ErrorBudgetBurn1h ErrorBudgetBurn6h ErrorBudgetBurn1d ErrorBudgetBurn3d"
"""What failed requests have fire."""
UNKNOWN = "MetricMissing LawUnchecked ReconciliationOverdue ClockSkew"
"""What is not known without the database."""
PENDING = "events_webhookdelivery WHERE status = 'pending'"
LATE = "events_feedevent WHERE position IS NULL"
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
    """Its blocks are entered one after the other, and left in the reverse order. `explains` are alerts that
    may fire by it, and need not."""

    phase: int
    what: str
    fires: list[str]
    explains: list[str]
    blocks: Breaks


CAUSES: list[Cause] = []


def cause(phase: int, fires: str, explains: str = "", what: str = "") -> Callable[[Breaks], None]:
    """A cause by its function, whose docstring says what it breaks where nothing else does."""

    def add(breaks: Breaks) -> None:
        text = what or " ".join((breaks.__doc__ or "").split()).rstrip(".")
        CAUSES.append(Cause(phase, text, fires.split(), explains.split(), breaks))

    return add


def after(act: Callable[..., object], *arguments: object) -> ExitStack:
    """A block that ends with this."""
    block = ExitStack()
    block.callback(act, *arguments)
    return block


def lasting(sort: str, name: str, stage: Stage) -> Blocks:
    return [stage.lasting(sort, name)]


def executed(stage: Stage, statement: str, undoing: str, *values: object) -> Blocks:
    """Until the block ends the statement has been run."""
    stage.sql(statement, *values)
    return [after(stage.sql, undoing, *values)]


def changed(stage: Stage, table: str, column: str, value: str, row: int) -> Blocks:
    """Inside the block the row's column has this value, whatever constraints say; afterwards 0."""
    change = f"SET STATEMENT check_constraint_checks = 0 FOR UPDATE {table} SET {column} ="  # noqa: S608
    return executed(stage, f"{change} {value} WHERE id = %s", f"{change} 0 WHERE id = %s", row)


for phase, what, sort, name, fires, explains in (
    (1, "The exporter of Redis is stopped", "down", "redis exporter", "ExporterDown", ""),
    (1, "The clock of the issuer drifts minutes ahead", "clock ahead of", "issuer", "ClockSkew", ""),
    (6, "Beat is frozen", "freeze", "beat", "BeatSilent", "TargetDown"),
    (6, "The issuer is frozen", "freeze", "issuer", "IssuerSilent", "TargetDown"),
    (7, "The worker is frozen", "freeze", "worker", "TargetDown", "TasksNotMoving"),
    (7, "The broker is stopped", "down", "broker", "BrokerAway", "MetricMissing TasksNotMoving"),
    (8, "Redis is stopped", "down", "redis", "RedisAway", "BeatSilent IssuerSilent MetricMissing"),
    (9, "The database is stopped", "down", "mariadb", "DatabaseAway", UNKNOWN),
):
    cause(phase, fires, explains, what)(partial(lasting, sort, name))
cause(1, "StockNegative LawBroken", what="A product's `reserved` is set above `on_hand` by SQL")(
    lambda stage: changed(stage, "inventory_product", "reserved", "on_hand + 1", stage.product())
)
cause(1, "CouponDuplicate", "LawBroken", "A campaign's `issued` is set above its `quantity` by SQL")(
    lambda stage: changed(stage, "coupons_campaign", "issued", "quantity + 1", stage.campaign())
)
cause(1, "SagaStepForced", what="A step of a saga is forced, by a line of the journal")(
    lambda stage: executed(stage, FORCED, "DELETE FROM shop_journalline WHERE subject = 'purchase alerts'")
)
cause(1, "GrantsByOperator", what="An operator granted two millions today, by SQL")(
    lambda stage: executed(stage, GRANTED, "DELETE FROM payments_grantsofday WHERE operator_id = 0")
)
cause(2, "MetricMissing LawUnchecked", what="The table of the laws' answers is renamed")(
    lambda stage: executed(stage, RENAMED, "RENAME TABLE shop_lawstatus_away TO shop_lawstatus")
)
cause(1, "PaymentFailureRate", what="Orders are paid by cards that are declined")(
    lambda stage: [stage.load(6, order_call, product=stage.product(), card="tok_declined")]
)


@cause(1, "WebhookLag WebhookEndpointDisabled")
def failing_endpoints(stage: Stage) -> Blocks:
    """Two webhook endpoints have a refused address; SQL adds to the age of what waits for one, and days to
    the time for which the other has failed."""
    own, waiting = "events_webhookendpoint WHERE id = %s", "events_webhookdelivery WHERE endpoint_id = %s"
    for column, interval, rows in (("created_at", "2 HOUR", waiting), ("failing_since", "4 DAY", own)):
        endpoint = str(uuid.uuid4())
        for one in (own, waiting):
            yield after(stage.sql, f"DELETE FROM {one}", endpoint)  # noqa: S608
        stage.sql(ENDPOINT, endpoint)
        stage.product()  # An event is to be sent to it.
        stage.wait_for(1, f"{own} AND failing_since IS NOT NULL", endpoint)
        stage.age(column, interval, rows, endpoint)


@cause(1, "ReconciliationDifference DisputeOpen", explains="LawBroken")
def odd_charges(stage: Stage) -> Blocks:
    """The gateway has an old charge that belongs to no payment, removed by `reconcile --fix`, and another one
    is disputed; the shop wins."""
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


@cause(1, "EventsDead")
def refused_event(stage: Stage) -> Blocks:
    """Another data platform refuses an event for good; SQL adds to the refusal's age; removed by
    `replay_events --all`."""
    instance, name = stage.instance, "refusing-data-platform"
    port, book = instance.data_platform_port, instance.data / "refusing.sqlite3"
    words = [*processes.simulator("data_platform", port, book), "--refuse-type", "coupon.issued"]
    own, log = supervision.environment(instance), instance.logs / f"{name}.log"
    yield after(stage.manage, "replay_events --all")
    yield stage.lasting("down", "sink")
    yield children.running(words, name=name, log=log, is_ready=(ports.HOST, port), environment=own)
    stage.ask(coupon_call(stage.buyers[0], stage.campaign()))
    stage.wait_for(1, f"{PENDING} AND refused_at IS NOT NULL")
    stage.age("refused_at", "2 HOUR", PENDING)


@cause(1, "ConnectionsSaturated")
def many_connections(stage: Stage) -> Blocks:
    """A client keeps 85 % of the connections to the database open, with those that the shop needs."""
    [[most]] = stage.sql("SELECT @@global.max_connections")
    [[_, connected]] = stage.sql("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    return [database.connected(stage.instance) for _ in range(int(most * 0.85) - int(connected))]


@cause(2, "FeedLag QueueNotMoving SaleNotAdmitting OrdersOverdue", explains="LockWaits")
def locked_rows(stage: Stage) -> Blocks:
    """Transactions lock the feed's row, a campaign whose queue has a ticket, a sale in which an entry waits,
    and an unpaid order; SQL adds to the age of sale, order and events."""
    campaign, sale = stage.campaign("queue"), stage.shop.create_sale(stage.product(), in_seconds=3_600)
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


@cause(2, "PartnerAway", explains=f"LatencyOverGoal {FAILED}")
def partner_stopped(stage: Stage) -> Blocks:
    """The partner is stopped while coupons of its campaign are asked for."""
    campaign = stage.campaign(partner="convenience_store")
    return [stage.lasting("down", "partner"), stage.load(3, coupon_call, campaign=campaign)]


@cause(2, f"LockWaits {FAILED}", explains="LatencyOverGoal")
def locked_product(stage: Stage) -> Blocks:
    """A transaction keeps a product locked that orders are placed for."""
    product = stage.product()
    ordering = stage.load(20, order_call, product=product)
    return [ordering, stage.locked("inventory_product WHERE id = %s", product)]


@cause(3, "ThreadsSaturated", explains=f"LockWaits LatencyOverGoal {FAILED}")
def locked_campaigns(stage: Stage) -> Blocks:
    """Transactions keep campaigns of the strategy `pessimistic` locked that coupons are asked of."""
    # Each request waits for its campaign in a thread; one campaign may have half of a process's threads, and
    # the processes may share the connections unevenly.
    for campaign in [stage.campaign("pessimistic") for _ in range(3)]:
        yield stage.locked("coupons_campaign WHERE id = %s", campaign)
        yield stage.load(12, coupon_call, campaign=campaign)


@cause(4, "PaymentInDoubt SagaStuck ReconciliationOverdue OutboxLag")
def outside_stopped(stage: Stage) -> Blocks:
    """Gateway and data platform are stopped while orders are paid and an event waits; SQL adds to their and
    the comparisons' age; removed by `retry_saga --all-stuck`."""
    product, in_doubt = stage.product(), "payments_payment WHERE status = 'in_doubt'"
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


@cause(5, "TasksNotMoving")
def consumer_cancelled(stage: Stage) -> Blocks:
    """The worker takes no more tasks of its queue."""

    def control(command: str) -> None:
        # By Celery's own remote control, as an operator may do it and forget it.
        words = [sys.executable, "-m", "celery", "-A", "shop", "control", command, "celery"]
        own = supervision.environment(stage.instance)
        children.printed(children.run(words, within_seconds=60, environment=own))

    control("cancel_consumer")
    return [after(control, "add_consumer")]


@cause(6, "LatencyOverGoal")
def slow_gateway(stage: Stage) -> Blocks:
    """The gateway takes 2.6 s for each call while orders wait for their payment."""
    paid = {"product": stage.product(), "card": "tok_ok", "wait": 20}
    return [stage.lasting("slow", "gateway"), stage.load(8, order_call, **paid)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab alerts", description="Make each alert fire once.")
    parser.add_argument("--alerts", default="", help="only these, separated by commas")
    names = set(filter(None, parser.parse_args().alerts.split(",")))
    if unknown := names - alert_rules.alerts().keys():
        parser.error(f"there is no alert {', '.join(sorted(unknown))}")
    return own_stack.measure("lab alerts", "alerts", lambda instance: fire_alerts(instance, names))


def fire_alerts(instance: Instance, names: Collection[str]) -> int:
    """Make these alerts fire, or all, in a stack of the instance; the exit code. Prints the table of
    docs/monitoring.md, in seconds from the cause to the webhook, and from its end."""
    started, findings, count = time.monotonic(), list[str](), 0
    chosen = [cause for cause in CAUSES if not names or set(names) & set(cause.fires)]
    chosen.sort(key=lambda cause: cause.phase)
    with stages.prepared(instance) as running:
        is_watched = lambda: set(running.prometheus.targets().values()) == {"up"}  # noqa: E731
        waiting.until(is_watched, "not every target was scraped", within_seconds=QUIET_SECONDS)
        time.sleep(2 * SLOWEST_SCRAPE_SECONDS)  # By then all rules have been evaluated twice.
        findings += _wait_until_quiet(running, set(), QUIET_SECONDS)
        say("| alert | cause | s to fire | s to clear |\n| --- | --- | ---: | ---: |")
        for _, phase in itertools.groupby(chosen, key=lambda cause: cause.phase):
            for row in _run_phase(running, list(phase), findings):
                say(row)
                count += 1
    seconds = time.monotonic() - started
    say("\n".join([*findings, f"{count} alerts in {seconds:.0f} s, {len(findings)} findings"]))
    return 1 if findings else 0


def _run_phase(running: Stage, phase: Sequence[Cause], findings: list[str]) -> Iterator[str]:
    """Make the causes, wait for their alerts, remove the causes, and wait until nothing fires; the table's
    rows."""
    alerts, wanted = running.alerts, {name: cause for cause in phase for name in cause.fires}
    alerts.clear()

    def attempt(cause: Cause, act: Callable[[], object]) -> float:
        """Do it; the moment before. That it can't be done is a finding, and keeps no other from it."""
        began_at = time.monotonic()
        try:
            act()
        except (SetupError, LookupError) as error:
            findings.append(f"{cause.what}: {error!r}")
        return began_at

    def make(cause: Cause) -> None:
        for block in cause.blocks(running):
            made[cause.what].enter_context(block)

    with ExitStack() as all_made:
        made = {cause.what: all_made.enter_context(ExitStack()) for cause in phase}
        began_at = {cause.what: attempt(cause, partial(make, cause)) for cause in phase}
        waiting.left(lambda: wanted.keys() - alerts.keys(), within_seconds=FIRE_SECONDS)
        ended_at = {cause.what: attempt(cause, made[cause.what].close) for cause in reversed(phase)}
    findings += [*_wait_until_quiet(running, set(wanted), CLEAR_SECONDS), *find_faults(alerts, phase)]
    for name, cause in wanted.items():
        fired = alerts.get(name, Fired(math.inf))
        cleared = max(0.0, (fired.cleared_at or math.inf) - ended_at[cause.what])
        yield f"| `{name}` | {cause.what} | {fired.at - began_at[cause.what]:.0f} | {cleared:.0f} |"


def _wait_until_quiet(running: Stage, resolved: set[str], within_seconds: float) -> Iterator[str]:
    """Wait until no alert is pending or firing, and the webhook knows that these are resolved, or say which.

    Of the others it may not get to know: Alertmanager does not send that an alert is resolved which was
    inhibited at that moment, not even if it had sent that it fires.
    """

    def alerts() -> set[str]:
        pending = {alert["labels"]["alertname"] for alert in running.prometheus.get("alerts")["alerts"]}
        return pending | {
            name for name, one in running.alerts.copy().items() if name in resolved and not one.cleared_at
        }

    if left := waiting.left(alerts, within_seconds=within_seconds, pause_seconds=0.5):
        yield f"{', '.join(sorted(left))} did not end within {within_seconds:.0f} s"


def find_faults(alerts: Mapping[str, Fired], phase: Sequence[Cause]) -> Iterator[str]:
    """What the webhook got, against what the causes of the phase must and may make fire."""
    alerts, wanted = dict(alerts), {name for cause in phase for name in cause.fires}
    explained = wanted.union(*(cause.explains for cause in phase))
    yield from (f"{name} did not fire within {FIRE_SECONDS} s" for name in sorted(wanted - alerts.keys()))
    for name, fired in alerts.items():
        severity = alert_rules.alerts()[name]["labels"]["severity"]
        if name not in explained:
            yield f"{name} fired without a cause, beside {', '.join(sorted(wanted))}"
        if name in wanted and not fired.cleared_at:
            yield f"{name} was not cleared within {CLEAR_SECONDS} s"
        if fired.receivers != {RECEIVERS[severity]}:
            yield f"{name} is a {severity} and went to {fired.receivers}"


if __name__ == "__main__":
    sys.exit(main())
