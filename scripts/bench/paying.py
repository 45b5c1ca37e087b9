"""Paid orders: by card, or by points, coupon and card; by buyers who wait for the payment, or who don't.

A load is followed until its last order is settled, and its orders are then counted in SQL.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scripts.bench import sizes, watching
from scripts.bench.load import Figures, Measured, Run, summed_up
from scripts.bench.rows import OLDEST_WAITING, SETTLED
from scripts.bench.sizes import Size
from scripts.bench.stage import Stage
from scripts.stack import database

GIVE_SECONDS = 60
WAIT_SECONDS = 20
POLL_SECONDS = 0.25
SETTLE_SECONDS = 300
"""What the sagas get to end after the load: a backlog of thousands, on a slow machine."""
NOW = "SELECT UTC_TIMESTAMP(6)"
UNFINISHED = """
SELECT COUNT(*) FROM orders_saga
WHERE next_attempt_at IS NOT NULL AND state = 'running' AND created_at >= %s
"""
PLACED = """
SELECT COUNT(*) AS placed, COUNT(IF(orders.status = 'paid', 1, NULL)) AS paid,
    COUNT(IF(orders.status = 'paid' AND coupon.status = 'redeemed', 1, NULL)) AS redeemed,
    MIN(orders.placed_at) AS first_placed_at, MAX(orders.paid_at) AS last_paid_at
FROM orders_order AS orders LEFT JOIN coupons_coupon AS coupon ON coupon.code = orders.coupon_code
WHERE orders.placed_at >= %s
"""


@dataclass(frozen=True, kw_only=True)
class PaidLoad:
    """What is sent: the body with coupon and points or the card alone, and whether its buyers wait."""

    row: str
    has_coupon: bool
    waits: bool

    @property
    def buyers(self) -> int:
        return sizes.WAITING_BUYERS if self.waits else sizes.VUS

    def seconds(self, size: Size) -> int:
        return size.paid_seconds if self.waits else size.accepted_seconds

    def accounts(self, size: Size) -> int:
        return size.paid_accounts if self.waits else size.accepted_accounts


LOADS: Mapping[str, PaidLoad] = {
    one.row: one
    for one in (
        PaidLoad(row="paid_card", has_coupon=False, waits=True),
        PaidLoad(row="paid", has_coupon=True, waits=True),
        PaidLoad(row="accepted_card", has_coupon=False, waits=False),
        PaidLoad(row="accepted", has_coupon=True, waits=False),
    )
}


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The orders of a load, counted in SQL once its sagas have ended."""

    placed: int
    paid: int
    redeemed: int
    first_placed_at: datetime | None
    last_paid_at: datetime | None

    @property
    def seconds(self) -> float:
        """From the first order placed to the last one paid."""
        if self.first_placed_at is None or self.last_paid_at is None:
            return 0
        return (self.last_paid_at - self.first_placed_at).total_seconds()


def measure(stage: Stage, load: PaidLoad) -> Run:
    """Run the load, follow it until its last order is settled, and check every order.

    The microseconds of processor are those of an order, from the load's start until the last is settled.
    """
    settings = _settings(stage, load)
    database.wait_until_worked_off(stage.instance)
    began_at = database.rows(stage.instance, NOW)[0][0]
    before = watching.spent(stage.instance)
    with watching.oldest_waiting(stage.instance) as ages:
        figures = stage.ask("paid", seconds=load.seconds(stage.size), vus=load.buyers, **settings)
        backlog_size = count_unfinished(stage, began_at)
        wait_until_settled(stage, began_at)
    after = watching.spent(stage.instance)
    orders = count_orders(stage, began_at)
    spent = watching.of_each(before, after, requests=orders.placed)
    of_k6 = 1e6 * figures.k6_cores * figures.seconds / max(orders.placed, 1)
    return Run(
        row=load.row,
        figures=replace(figures, microseconds=spent | {"k6": of_k6}),
        per="an order until it is settled",
        findings=[*check_answers(load, figures), *check_orders(load, figures, orders)],
        others={
            "settle_seconds": settle_seconds(figures, orders),
            OLDEST_WAITING: max(ages),
            "backlog": backlog_size,
            **_answers(load, figures, orders),
        },
    )


def rows(runs: Sequence[Run]) -> list[Measured]:
    """The rows of these runs, each beside the null runs before and after it."""
    by_row = {run.row: run for run in runs if run.row in LOADS}
    return [
        replace(one, says=f"{summary(LOADS[one.row], by_row[one.row])}; {one.says}")
        for one in summed_up(runs)
        if one.row in LOADS
    ]


def settle_seconds(figures: Figures, orders: Orders) -> float:
    """How long the last order took to become paid after the load."""
    return max(0.0, orders.seconds - figures.seconds)


def settled_per_second(figures: Figures, orders: Orders) -> float:
    """Orders that became paid a second, counted until the last one is settled."""
    return orders.paid / (figures.seconds + settle_seconds(figures, orders))


def summary(load: PaidLoad, run: Run) -> str:
    """What the figures of a row don't tell."""
    requests, others = run.figures.requests, run.others
    left = f"{others['backlog']:,.0f} sagas were left after the load, the last order settled in "
    left += f"{others['settle_seconds']:.1f} s"
    if load.waits:
        return (
            f"{load.buyers} buyers; {others['answered_202']:,.0f} of {requests:,} were answered 202; {left}"
        )
    return f"{load.buyers} buyers; {others['overloaded']:,.0f} of {requests:,} were answered 503; {left}"


def check_answers(load: PaidLoad, figures: Figures) -> Iterator[str]:
    """Waiting buyers are answered 201, or 202 where it takes too long; others 202, or 503 `overloaded`."""
    others = {status: count for status, count in figures.statuses.items() if count}
    if load.waits:
        others.pop("202", None)
    elif others.get("503") == figures.overloaded:
        others.pop("503", None)
    if others or not figures.succeeded:
        counts = ", ".join(f"{count} x {status}" for status, count in others.items())
        expected = "201" if load.waits else "202"
        yield (
            f"{load.row}: {figures.succeeded} of {figures.requests} answers were {expected}; others: "
            f"{counts or 'none'}"
        )


def check_orders(load: PaidLoad, figures: Figures, orders: Orders) -> Iterator[str]:
    """Every order that a buyer was answered is there, and every order is paid, with its coupon redeemed."""
    answered = figures.succeeded + (figures.statuses.get("202", 0) if load.waits else 0)
    redeemed = orders.placed if load.has_coupon else 0
    # A request that failed for k6 may have been done all the same.
    if not (answered <= orders.placed <= figures.requests) or (orders.paid, orders.redeemed) != (
        orders.placed,
        redeemed,
    ):
        yield (
            f"{load.row}: {answered} orders were answered, {orders.placed} are placed, {orders.paid} paid, "
            f"and {orders.redeemed} with a coupon redeemed"
        )


def _answers(load: PaidLoad, figures: Figures, orders: Orders) -> dict[str, float]:
    """Where buyers wait, the paid orders a second are the answers a second already."""
    if load.waits:
        return {"answered_202": figures.statuses.get("202", 0)}
    return {SETTLED: settled_per_second(figures, orders), "overloaded": figures.overloaded}


def _settings(stage: Stage, load: PaidLoad) -> dict[str, object]:
    """The environment of k6, with a coupon for each account where the body has one."""
    accounts = load.accounts(stage.size)
    # Made where the body has no coupon as well: its id makes the idempotency keys of this load its own.
    campaign = stage.campaign(load.row, quantity=accounts)
    settings: dict[str, object] = {"ACCOUNTS": accounts, "RUN": f"bench-paid-{campaign}"}
    if load.has_coupon:
        stage.ask("coupons", seconds=GIVE_SECONDS, CAMPAIGN=campaign, ACCOUNTS=accounts)
        settings["CODES"] = stage.staff.codes_of(campaign, accounts)
    if load.waits:
        settings["WAIT"] = WAIT_SECONDS
    return settings


def count_orders(stage: Stage, began_at: datetime) -> Orders:
    """The orders placed since then."""
    return Orders(**database.row(stage.instance, PLACED, began_at))


def wait_until_settled(stage: Stage, began_at: datetime) -> None:
    """Return when no saga that began since is running, or that takes too long."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while count_unfinished(stage, began_at) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def count_unfinished(stage: Stage, began_at: datetime) -> int:
    """Sagas that began since then and run."""
    return int(database.rows(stage.instance, UNFINISHED, began_at)[0][0])
