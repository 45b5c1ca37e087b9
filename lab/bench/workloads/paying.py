"""Paid orders: by card, or by points, coupon and card; by buyers that wait for the payment, or that don't.

A load is followed until its last order is settled, and its orders are then counted in SQL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from lab.bench import sizes, watching
from lab.bench.load import Figures, Run
from lab.bench.rows import OLDEST_WAITING, SETTLED
from lab.bench.sizes import Size
from lab.bench.stage import Stage, wait_until
from scripts.stack import database

ISSUE_SECONDS = 60
WAIT_SECONDS = 20
SETTLE_SECONDS = 300
"""For the sagas to end after the load: a backlog of thousands, on a slow machine."""
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


@dataclass(frozen=True)
class PaidLoad:
    """The body, with coupon and points or the card alone, and whether its buyers wait."""

    row: str
    has_coupon: bool
    waits: bool

    def of_size(self, size: Size) -> tuple[int, int, int]:
        """Buyers, seconds and accounts."""
        if self.waits:
            return sizes.WAITING_BUYERS, size.paid_seconds, size.paid_accounts
        return sizes.VUS, size.accepted_seconds, size.accepted_accounts


LOADS: Mapping[str, PaidLoad] = {
    "paid_card": PaidLoad("paid_card", has_coupon=False, waits=True),
    "paid": PaidLoad("paid", has_coupon=True, waits=True),
    "accepted_card": PaidLoad("accepted_card", has_coupon=False, waits=False),
    "accepted": PaidLoad("accepted", has_coupon=True, waits=False),
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
    vus, seconds, accounts = load.of_size(stage.size)
    settings = _settings(stage, load, accounts)
    database.wait_until_worked_off(stage.instance)
    began_at = database.rows(stage.instance, NOW)[0][0]
    before = watching.spent(stage.instance)
    with watching.oldest_waiting(stage.instance) as ages:
        figures = stage.run_k6("paid", seconds=seconds, vus=vus, **settings)
        backlog_size = count_unfinished(stage, began_at)
        wait_until_settled(stage, began_at)
    after = watching.spent(stage.instance)
    orders = count_orders(stage, began_at)
    spent = watching.of_each(before, after, requests=orders.placed)
    of_k6 = 1e6 * figures.k6_cores * figures.seconds / max(orders.placed, 1)
    others = {
        "settle_seconds": settle_seconds(figures, orders),
        OLDEST_WAITING: max(ages),
        "backlog": backlog_size,
    }
    if load.waits:  # paid orders a second are the answers a second
        others["answered_202"] = unexpected = figures.statuses.get("202", 0)
    else:
        others[SETTLED] = settled_per_second(figures, orders)
        others["overloaded"] = unexpected = figures.overloaded
    return Run(
        row=load.row,
        figures=replace(figures, microseconds=spent | {"k6": of_k6}),
        per="an order until it is settled",
        findings=[*check_answers(load, figures), *check_orders(load, figures, orders)],
        others=others,
        says=f"{vus} buyers; {unexpected:,} of {figures.requests:,} were answered "
        f"{202 if load.waits else 503}; {backlog_size:,} sagas were left after the load, the last order "
        f"settled in {others['settle_seconds']:.1f} s",
    )


def settle_seconds(figures: Figures, orders: Orders) -> float:
    """The time from the end of the load until the last order became paid."""
    return max(0.0, orders.seconds - figures.seconds)


def settled_per_second(figures: Figures, orders: Orders) -> float:
    """Orders that became paid a second, counted until the last one is settled."""
    return orders.paid / (figures.seconds + settle_seconds(figures, orders))


def check_answers(load: PaidLoad, figures: Figures) -> Iterator[str]:
    """Waiting buyers are answered 201, or 202 if it takes too long; others 202, or 503 `overloaded`."""
    others = {status: count for status, count in figures.statuses.items() if count}
    if load.waits:
        others.pop("202", None)
    elif others.get("503") == figures.overloaded:
        others.pop("503", None)
    if others or not figures.succeeded:
        counts = ", ".join(f"{count} x {status}" for status, count in others.items())
        yield (
            f"{load.row}: {figures.succeeded} of {figures.requests} answers were "
            f"{201 if load.waits else 202}; others: {counts or 'none'}"
        )


def check_orders(load: PaidLoad, figures: Figures, orders: Orders) -> Iterator[str]:
    """Every order that was answered is in the database and paid, with its coupon redeemed."""
    answered = figures.succeeded + (figures.statuses.get("202", 0) if load.waits else 0)
    due = (orders.placed, orders.placed if load.has_coupon else 0)
    # A request that failed for k6 may have placed its order all the same.
    if not answered <= orders.placed <= figures.requests or (orders.paid, orders.redeemed) != due:
        yield (
            f"{load.row}: {answered} orders were answered, {orders.placed} are placed, {orders.paid} paid, "
            f"and {orders.redeemed} with a coupon redeemed"
        )


def _settings(stage: Stage, load: PaidLoad, accounts: int) -> dict[str, object]:
    """The environment of k6, with a coupon for each account if the body has one."""
    # Made for a body without a coupon as well: its id makes the idempotency keys of this load its own.
    campaign = stage.campaign(load.row, quantity=accounts)
    settings: dict[str, object] = {"ACCOUNTS": accounts, "RUN": f"bench-paid-{campaign}"}
    if load.has_coupon:
        stage.run_k6("coupons", seconds=ISSUE_SECONDS, CAMPAIGN=campaign, ACCOUNTS=accounts)
        settings["CODES"] = stage.staff.codes_of(campaign, accounts)
    return settings | ({"WAIT": WAIT_SECONDS} if load.waits else {})


def count_orders(stage: Stage, began_at: datetime) -> Orders:
    """The orders placed since then."""
    return Orders(**database.row(stage.instance, PLACED, began_at))


def count_unfinished(stage: Stage, began_at: datetime) -> int:
    """Sagas that were created since then and run."""
    return stage.count(UNFINISHED, began_at)


def wait_until_settled(stage: Stage, began_at: datetime) -> None:
    """Return when no saga that was created since is running."""
    wait_until(lambda: not count_unfinished(stage, began_at), within_seconds=SETTLE_SECONDS)
