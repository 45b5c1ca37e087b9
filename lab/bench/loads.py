"""The loads of k6 by row: each runs once, and compares the rows it made with the answers that k6 counted."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from lab import stage as stages
from lab.bench.rows import VUS, Measured
from lab.bench.stage import Stage, microseconds, of_k6
from lab.load import Figures, ratio
from lab.stack import database
from lab.stage import wait_until

ORDERS = "SELECT COUNT(*) FROM orders_order"
LISTED_ACCOUNTS, LISTED_COUPONS, LISTED_ORDERS = 20, 50, 50
COUPONS_OF = "SELECT COUNT(*) FROM coupons_coupon WHERE account_id = %s"
HELD = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = %s AND status = 'held'"
CAMPAIGNS = "SELECT COUNT(*) FROM coupons_campaign"
ISSUE_SECONDS = 60
CROWD_PAUSE_SECONDS = 1


def null(stage: Stage, **settings: Any) -> Measured:
    """The ceiling. It makes no rows."""
    return stage.measure("null", "null", CAMPAIGN=1, **settings)


def coupons(stage: Stage, row: str = "coupon", **settings: Any) -> Measured:
    """A coupon for each account, of a campaign that has enough for all."""
    campaign = stage.campaign(f"Bench {row}")
    made = partial(stage.issued, campaign)
    return stage.measure(row, "coupons", made=made, CAMPAIGN=campaign, **settings)


def crowd(stage: Stage) -> Measured:
    """Coupons by many buyers that rest between their requests, as people do."""
    size = stage.size
    return coupons(stage, "crowd", seconds=size.crowd_seconds, vus=size.crowd_vus, PAUSE=CROWD_PAUSE_SECONDS)


def sold_out(stage: Stage) -> Measured:
    """Refusals by a campaign whose only coupon is issued."""
    campaign = stage.campaign("Bench sold out", quantity=1)
    stage.call("POST", "/coupons", {"campaign": campaign})
    run = stage.measure("sold_out", "coupons", CAMPAIGN=campaign, EXPECTED=409)
    found = stage.call("GET", f"/campaigns/{campaign}")
    if (found["issued"], found["status"]) == (1, "sold_out"):
        return run
    finding = f"sold_out: {found['issued']} coupons of 1 are issued, and it is {found['status']}"
    return replace(run, findings=[*run.findings, finding])


def orders(stage: Stage, row: str = "orders", *, is_hot: bool = False, **settings: Any) -> Measured:
    """Orders of three lines, of products that neighbours in time share or don't; if `is_hot`, of one line and
    the same product for all."""
    made = partial(stage.number, ORDERS)
    own = {"RUN": f"bench-{made()}", "ORDER_LINES": 3}
    if is_hot:
        own |= {"ORDER_LINES": 1, "PRODUCTS": stage.write("hot-product", stage.product_ids[:1])}
    return stage.measure(row, "orders", made=made, **own, **settings)


def coupon_orders(stage: Stage) -> Measured:
    """Orders of three lines with the account's own coupon, which is issued before, and not measured."""
    campaign, codes = issued(stage, "issued coupons")
    return _orders_with_coupon(stage, "coupon_orders", campaign, CODES=codes)


def shared_orders(stage: Stage) -> Measured:
    """The same orders with one shared code: the coupons are issued by the orders."""
    code = f"BENCH-{stage.number(CAMPAIGNS)}"
    campaign = stage.campaign("Bench shared code", code_source="shared", shared_code=code)
    run = _orders_with_coupon(stage, "shared_orders", campaign, CODE=code)
    count, held = stage.issued(campaign), stage.number(HELD, campaign)
    finding = f"shared_orders: {count} coupons are issued, and orders hold {held}"
    return run if count == held else replace(run, findings=[*run.findings, finding])


def _orders_with_coupon(stage: Stage, row: str, campaign: int, **named: Any) -> Measured:
    """Each account's order of three lines; the coupons that orders hold are those of its answers."""
    own = {"ACCOUNTS": stage.size.accounts, "RUN": f"bench-{row}-{campaign}", "ORDER_LINES": 3}
    return stage.measure(row, "orders", made=partial(stage.number, HELD, campaign), **own, **named)


def issued(stage: Stage, name: str) -> tuple[int, Any]:
    """A new campaign, and the file with the coupons that the first accounts have of it."""
    accounts = stage.size.accounts
    campaign = stage.campaign(f"Bench {name}", quantity=accounts)
    stage.k6("coupons", seconds=ISSUE_SECONDS, CAMPAIGN=campaign, ACCOUNTS=accounts)
    return campaign, stage.codes_of(campaign, accounts)


def coupon_list(stage: Stage) -> Measured:
    """A page of their own coupons, for accounts with as many or more."""
    users = stage.users[-LISTED_ACCOUNTS:]
    for _ in range(LISTED_COUPONS - stage.number(COUPONS_OF, users[-1]["id"])):
        campaign = stage.campaign("Bench lists", quantity=len(users))
        for user in users:
            stage.call("POST", "/coupons", {"campaign": campaign, "user": user["id"]})
    return _list(stage, "coupon_list", "/coupons", users)


def order_list(stage: Stage) -> Measured:
    """The newest page of all accounts' orders, for staff."""
    if stage.number(ORDERS) < LISTED_ORDERS:
        orders(stage, seconds=1)
    return _list(stage, "order_list", "/orders", [{"access": stage.token}])


def _list(stage: Stage, row: str, path: str, users: Any) -> Measured:
    return stage.measure(row, "list", TOKENS=stage.tokens_of(users), LIST=path, AGAIN=1)


# --- paid orders ---

NOW = "SELECT UTC_TIMESTAMP(6)"
UNFINISHED = """
SELECT COUNT(*) FROM orders_saga
WHERE next_attempt_at IS NOT NULL AND state = 'running' AND created_at >= %s
"""
PLACED = """
SELECT COUNT(*) AS placed, COUNT(IF(orders.status = 'paid', 1, NULL)) AS paid,
    COUNT(IF(orders.status = 'paid' AND coupon.status = 'redeemed', 1, NULL)) AS redeemed,
    COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(orders.placed_at), MAX(orders.paid_at)), 0) / 1e6 AS seconds,
    COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, orders.placed_at, orders.paid_at)), 0) / 1e6 AS longest
FROM orders_order AS orders LEFT JOIN coupons_coupon AS coupon ON coupon.code = orders.coupon_code
WHERE orders.placed_at >= %s
"""
WAIT_SECONDS, SETTLE_SECONDS = 20, 300
"""How long a buyer waits; for the sagas to end after the load: a backlog of thousands, on a slow machine."""
WAITING_BUYERS = 40
"""As many as could wait while each held a web thread, so that earlier commits compare."""


@dataclass(frozen=True)
class Orders:
    """The orders since an instant, once their sagas have ended; `seconds` from the first placed to the last
    paid, and the `longest` from one's placing to its payment."""

    placed: float
    paid: float
    redeemed: float
    seconds: float
    longest: float


def settled(stage: stages.Stage, since: datetime) -> Orders:
    """Wait until no saga that was created since is running, and count."""
    wait_until(lambda: not stage.number(UNFINISHED, since), within_seconds=SETTLE_SECONDS)
    found = database.row(stage.instance, PLACED, since)
    return Orders(**{name: float(value) for name, value in found.items()})


def paid(stage: Stage, row: str, *, has_coupon: bool, waits: bool) -> Measured:
    """Orders by the card, or by points, coupon and card; by buyers that wait for the payment, or that don't.
    They are followed until the last is settled, and so is the processor time of an order."""
    # Made for a body without a coupon as well: its id makes the idempotency keys of this load its own.
    campaign, codes = issued(stage, row) if has_coupon else (stage.campaign(f"Bench {row}"), None)
    settings = {"ACCOUNTS": stage.size.accounts, "RUN": f"bench-paid-{campaign}"}
    settings |= ({"CODES": codes} if codes else {}) | ({"WAIT": WAIT_SECONDS} if waits else {})
    database.wait_until_worked_off(stage.instance)
    [(since,)] = stage.rows(NOW)
    before = stages.spent(stage.instance)
    vus = WAITING_BUYERS if waits else VUS
    figures = stage.k6("paid", seconds=stage.size.paid_seconds, vus=vus, **settings)
    made = settled(stage, since)
    taken = microseconds(before, stages.spent(stage.instance), made.placed)
    taken["processor_us"] += taken["worker_us"]
    others = {"longest_seconds": made.longest}
    if not waits:  # an order that is accepted and never paid is no throughput
        # The time after the load counts until the last order was paid.
        others["settled_per_second"] = ratio(made.paid, max(figures.seconds, made.seconds))
        others["overloaded"] = figures.count("overloaded")
    return Measured(
        row=row,
        figures={**of_k6(figures), **taken, **others},
        findings=list(errors_of_paid(row, figures, made, has_coupon=has_coupon, waits=waits)),
        says=f"{vus} buyers; settled {max(0.0, made.seconds - figures.seconds):.1f} s after the load",
    )


def errors_of_paid(
    row: str, figures: Figures, made: Orders, *, has_coupon: bool, waits: bool
) -> Iterator[str]:
    """Waiting buyers are answered 201, or 202 if it takes too long; others 202, or 503 `overloaded`. Every
    order that was answered is in the database and paid, with its coupon redeemed."""
    others = figures.counts("status_")
    accepted = others.pop("202", 0) if waits else 0
    if not waits and others.get("503") == figures.count("overloaded"):
        others.pop("503", None)
    if others or not figures.succeeded:
        yield f"{row}: {figures.succeeded} of {figures.requests} answers were as expected; others: {others}"
    answered, due = figures.succeeded + accepted, (made.placed, made.placed if has_coupon else 0)
    # A request that failed for k6 may have placed its order all the same.
    if not answered <= made.placed <= figures.requests or (made.paid, made.redeemed) != due:
        yield f"{row}: {answered} orders were answered, and in the database are {made}"


LOADS: Mapping[str, Callable[[Stage], Measured]] = {
    "null": null,
    "coupon": coupons,
    "buyers_1000": lambda stage: coupons(stage, "buyers_1000", vus=stage.size.hot_vus),
    "sold_out": sold_out,
    "crowd": crowd,
    "orders": orders,
    "hot_orders": partial(orders, row="hot_orders", is_hot=True),
    "hot_crowd": lambda stage: orders(stage, "hot_crowd", vus=stage.size.hot_vus, is_hot=True),
    "coupon_orders": coupon_orders,
    "shared_orders": shared_orders,
    "coupon_list": coupon_list,
    "wallet": lambda stage: _list(stage, "wallet", "/wallet", stage.users),
    "product_list": lambda stage: _list(stage, "product_list", "/products", stage.users[-LISTED_ACCOUNTS:]),
    "order_list": order_list,
    "paid_card": partial(paid, row="paid_card", has_coupon=False, waits=True),
    "paid": partial(paid, row="paid", has_coupon=True, waits=True),
    "accepted_card": partial(paid, row="accepted_card", has_coupon=False, waits=False),
    "accepted": partial(paid, row="accepted", has_coupon=True, waits=False),
}
"""How each row that one load measures is measured."""
