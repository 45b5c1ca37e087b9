"""The loads of k6 by row: each runs once, and compares the rows it made with the answers that k6 counted."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from lab import load, stage as stages
from lab.bench.judging import Measured, Runs
from lab.bench.rows import ROWS
from lab.bench.sizes import Size
from lab.calls import Findings
from lab.load import Figures, Settings, ratio
from lab.stack import database
from lab.stage import Stage
from scripts.stack import Json, Words, own_stack, places, waiting
from scripts.stack.instance import Instance

SETTINGS = {
    **stages.SETTINGS,
    "GATEWAY_LATENCY_MS": "20",
    # Payments wait for a worker that is stopped, and are settled when it goes on.
    "PAYMENT_GIVE_UP_SECONDS": "600",
    # Accounts come to have more unpaid orders than they usually may.
    "OPEN_ORDERS_PER_ACCOUNT": "1000",
    # What looks at all rows of a while would fall into one load for those of many. The audit still runs once,
    # soon after the start.
    "AUDIT_SECONDS": "3600",
    "RECONCILE_SECONDS": "3600",
}
PRODUCTS = 1_000
VUS = 100  # Buyers at once if a row has no number of its own, each with one request under way
TIMES = {"p50_ms": "med", "p95_ms": "p(95)", "max_ms": "max"}  # of an answer, and what k6 calls them
LEAST_OF_ANOTHER = 0.99  # of another commit's answers are as expected: it has faults that this one has not
WARM_UP_SECONDS = 2
GRACE_SECONDS = 60  # for k6 beyond its load: to start, to finish the last requests, to write its figures
SETTLE_SECONDS = 300  # for the sagas to end after the load: a backlog of thousands, on a slow machine
LISTED_ACCOUNTS = 20
LISTED_COUPONS = 50  # a page
Run = Callable[[], Measured]

COUPONS_OF_ACCOUNT = "SELECT COUNT(*) FROM coupons_coupon WHERE account_id = %s"
RUNNING_SAGAS = """
SELECT COUNT(*) FROM orders_saga
WHERE next_attempt_at IS NOT NULL AND state = 'running' AND created_at >= %s
"""
ORDERS = """
SELECT COUNT(*) AS placed, COUNT(IF(orders.status = 'paid', 1, NULL)) AS paid,
    COUNT(IF(orders.status = 'paid' AND coupon.status = 'redeemed', 1, NULL)) AS redeemed,
    COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(orders.placed_at), MAX(orders.paid_at)), 0) / 1e6 AS seconds,
    COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, orders.placed_at, orders.paid_at)), 0) / 1e6 AS longest
FROM orders_order AS orders LEFT JOIN coupons_coupon AS coupon ON coupon.code = orders.coupon_code
WHERE orders.placed_at >= %s
"""


class Orders(NamedTuple):
    """How many orders are placed, paid, and paid with their coupon redeemed; the seconds from the first one
    placed to the last one paid, and the longest from placing to payment."""

    placed: float
    paid: float
    redeemed: float
    seconds: float = 0
    longest: float = 0


@dataclass(frozen=True, eq=False)
class BenchStage(Stage):
    """A stage of which so much is measured."""

    size: Size


@contextmanager
def running(instance: Instance, size: Size) -> Iterator[BenchStage]:
    """A stack of its own, seeded and warm."""
    with own_stack.running(instance, **SETTINGS):
        seeded = stages.seeded(instance, users=size.users, products=PRODUCTS)
        stage = BenchStage(seeded.instance, seeded.users, seeded.shop, size)
        for row in ("coupon", "paid_card"):  # the first request of each thread opens its connection
            measure(stage, row, SECONDS=WARM_UP_SECONDS)
        yield stage


def measure(stage: BenchStage, row: str, **given: Any) -> Measured:
    """One run of the row's load. Orders that are paid are followed until the last is settled, and so is the
    processor time of an order."""
    terms = ROWS[row]
    settings = settings_of(stage, row) | given
    counts = [statement.format(**settings) for statement in terms.makes]
    database.wait_until_worked_off(stage.instance)
    since = stage.now()
    counted = {statement: stage.number(statement) for statement in counts}
    before = used(stage)
    load_of_k6 = load.run(
        terms.script, stage.instance, within_seconds=settings["SECONDS"] + GRACE_SECONDS, **settings
    )
    orders = None
    number: float = load_of_k6.requests
    if "PAYS" in terms.k6:
        orders = settled(stage, since)
        number = orders.placed
    figures = {name: ratio(now - before[name], number) for name, now in used(stage).items()}
    figures["processor_us"] = sum(figures[f"{name}_us"] for name in stages.PROCESSES)
    # The rate counts requests with the answer that they asked for.
    figures["per_second"] = ratio(load_of_k6.succeeded, load_of_k6.seconds)
    for name, sum_of in TIMES.items():
        figures[name] = load_of_k6.number(terms.times, sum_of)
    if orders:
        # An order that is accepted and never paid is no throughput, and the time until the last is counts.
        figures["settled_per_second"] = ratio(orders.paid, max(load_of_k6.seconds, orders.seconds))
        figures["longest_seconds"] = orders.longest
        figures["overloaded"] = load_of_k6.count("overloaded")
    made = [stage.number(statement) - earlier for statement, earlier in counted.items()]
    share = 1.0
    if stage.instance.project != places.PROJECT:
        share = LEAST_OF_ANOTHER
    return Measured(row=row, figures=figures, findings=[*errors(row, load_of_k6, made, orders, share)])


def settings_of(stage: BenchStage, row: str) -> Json:
    """Of k6: of every load, by the row, by the size, and by what the row needs."""
    terms = ROWS[row]
    settings = {
        **stage.files,
        "SECONDS": stage.size.seconds,
        "VUS": VUS,
        "RUN": f"bench-{time.time_ns()}",
        **terms.k6,
    }
    for name, number in terms.sized.items():
        settings[name] = getattr(stage.size, number)
    return {**settings, **needed(stage, row)}


def used(stage: Stage) -> dict[str, float]:
    """So far: µs of processor of each process, and the statements that the database counts."""
    taken = {f"{name}_us": 1e6 * seconds for name, seconds in stages.spent(stage.instance).items()}
    return {**taken, "statements": database.status(stage.instance, "Questions")}


def cores_of(stage: Stage, seconds: float) -> dict[str, float]:
    """What each process takes of a core in the next seconds."""
    before = stages.spent(stage.instance)
    began_at = time.monotonic()
    time.sleep(seconds)
    taken = database.since(before, stages.spent(stage.instance))
    lasted = time.monotonic() - began_at
    return {f"{name}_cores": seconds / lasted for name, seconds in taken.items()}


def errors(
    row: str, figures: Figures, made: Iterable[int], orders: Orders | None, share: float = 1
) -> Findings:
    """At least this share of the answers must be the right one: every account sent one request, and there was
    enough for all. Of buyers that pay, those that wait may be answered 202, and others 503 `overloaded`."""
    terms = ROWS[row]
    others = figures.counts("status_")
    refused = figures.count("overloaded")
    answered = figures.succeeded
    if "WAIT" in terms.k6:
        answered += others.pop("202", 0)
    if answered + refused < share * figures.requests or not figures.succeeded or "unadmitted" in others:
        yield f"{row}: {figures.succeeded} of {figures.requests} answers were expected; others: {others}"
    # A request that failed for k6 may have been done all the same; one that is refused makes nothing.
    least = answered
    most = figures.requests
    if "EXPECTED" in terms.k6:
        least = most = 0
    for number in made:
        if not least <= number <= most:
            yield f"{row}: {answered} were answered as expected, and {number} were made"
    if orders:
        has_coupon = terms.needs == "coupons of its buyers"
        yield from wrong_orders(row, orders, answered=answered, most=most, pays=True, has_coupon=has_coupon)


def beside_null(stage: BenchStage, rows: Words) -> Runs:
    """These rows in rounds between loads of null, which run too."""
    runs = [partial(measure, stage, row) for row in rows if row != "null"]
    return between(stage, runs, partial(measure, stage, "null"))


def between(stage: BenchStage, loads: Sequence[Run], null: Run) -> Runs:
    """These loads in each round, with null before and after each, for the machine drifts: rates and processor
    times as shares of null's, and statements of a request beyond null's. The null runs too."""
    before = null()
    yield before
    for _ in range(stage.size.rounds):
        for load_once in loads:
            run = load_once()
            after = null()
            yield beside(run, before, after)
            yield after
            before = after
        if not loads:
            yield null()


def beside(run: Measured, before: Measured, after: Measured) -> Measured:
    """The run, its figures also as shares of the mean of both null runs."""
    null = {name: (figure + after.figures[name]) / 2 for name, figure in before.figures.items()}
    # The rest of the shop sends as many a second beside null calls, which send none.
    others = ratio(null["statements"] * null["per_second"], run.figures["per_second"])
    figures = {
        **run.figures,
        "of_null": ratio(run.figures["per_second"], null["per_second"]),
        "of_null_processor": ratio(run.figures["processor_us"], null["processor_us"]),
        "statements": max(0.0, run.figures["statements"] - others),
    }
    return replace(run, figures=figures)


def settled(stage: Stage, since: datetime) -> Orders:
    """The orders placed since then, once none of their sagas is running."""
    waiting.left(lambda: stage.number(RUNNING_SAGAS, since), within_seconds=SETTLE_SECONDS)
    [orders] = stage.read(Orders, ORDERS, since)
    return Orders(*map(float, orders))


def wrong_orders(
    row: str, made: Orders, *, answered: int, most: int, pays: bool, has_coupon: bool = False
) -> Findings:
    """Each order that was answered is in the database, and paid with its coupon redeemed where it should be;
    a request that failed for k6 may have placed its order all the same, of `most` in all."""
    due = (made.placed * pays, made.placed * has_coupon)
    if not answered <= made.placed <= most or (made.paid, made.redeemed) != due:
        yield f"{row}: {answered} of {most} orders were answered, and in the database are {made}"


def needed(stage: BenchStage, row: str) -> Settings:
    """What the load of the row has to find is made; its settings."""
    name = f"Bench {row}"
    match ROWS[row].needs:
        case "a campaign":
            return {"CAMPAIGN": stage.campaign(name)}
        case "a campaign sold out":
            campaign = stage.campaign(name, quantity=1)
            stage.shop.call("POST", "/coupons", {"campaign": campaign})
            return {"CAMPAIGN": campaign}
        case "coupons of its buyers":
            return stage.issue(name, stage.size.accounts)
        case "accounts with a page of coupons":
            users = stage.users[-LISTED_ACCOUNTS:]
            for _ in range(LISTED_COUPONS - stage.number(COUPONS_OF_ACCOUNT, users[-1]["id"])):
                campaign = stage.campaign(name, quantity=len(users))
                for user in users:
                    stage.shop.call("POST", "/coupons", {"campaign": campaign, "user": user["id"]})
            return {"TOKENS": stage.tokens_of(users)}
        case "staff":
            return {"TOKENS": stage.tokens_of([{"access": stage.shop.token}])}
    return {}
