"""The loads of k6: each runs once, and compares what the shop counts with what k6 was answered."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from scripts.bench import connections, sizes
from scripts.bench.load import Figures, Run
from scripts.bench.stage import Stage
from scripts.stack import SetupError

ORDERS = "SELECT COUNT(*) FROM orders_order"
LISTED_ACCOUNTS, LISTED_COUPONS, LISTED_ORDERS = 20, 50, 50
COUPONS_OF = "SELECT COUNT(*) FROM coupons_coupon WHERE account_id = %s"
GRANTS = "SELECT COUNT(*) FROM payments_transfer WHERE kind = 'grant'"


def null(stage: Stage, *, seconds: int = 0, vus: int = sizes.VUS) -> Run:
    """The ceiling. It makes nothing, so there is nothing to count."""
    return checked("null", stage.ask("null", seconds=seconds, vus=vus, CAMPAIGN=1))


def coupons(
    stage: Stage,
    *,
    row: str = "coupon",
    strategy: str = "group_commit",
    seconds: int = 0,
    vus: int = sizes.VUS,
    pause: float = 0,
) -> Run:
    """A coupon for each account that asks, of a campaign that has enough."""
    campaign = stage.campaign(row, strategy=strategy)
    figures = stage.ask("coupons", seconds=seconds, vus=vus, CAMPAIGN=campaign, PAUSE=pause)
    return replace(checked(row, figures, stage.staff.issued(campaign)), campaign=campaign)


def pessimistic(stage: Stage) -> Run:
    """Coupons without group commit."""
    return coupons(stage, row="pessimistic", strategy="pessimistic")


def many_buyers(stage: Stage) -> Run:
    """Coupons by very many buyers without a rest."""
    return coupons(stage, row="buyers_1000", vus=stage.size.hot_vus)


def crowd(stage: Stage) -> Run:
    """Many buyers who rest between their requests, as people do."""
    size = stage.size
    pause = sizes.CROWD_PAUSE_SECONDS
    return coupons(stage, row="crowd", seconds=size.crowd_seconds, vus=size.crowd_vus, pause=pause)


def sold_out(stage: Stage) -> Run:
    """Refusals by a campaign whose only coupon is gone."""
    campaign = stage.campaign("sold out", quantity=1)
    stage.staff.call("POST", "/coupons", {"campaign": campaign})
    run = checked("sold_out", stage.ask("coupons", CAMPAIGN=campaign, EXPECTED=409))
    told = stage.staff.call("GET", f"/campaigns/{campaign}")
    if (told["issued"], told["status"]) == (1, "sold_out"):
        return run
    finding = f"sold_out: {told['issued']} coupons of 1 are issued, and it is {told['status']}"
    return replace(run, findings=[*run.findings, finding])


def same_again(stage: Stage, before: Run | None = None) -> Run:
    """Every account that got a coupon in the run before asks for it again, and again."""
    before = before or coupons(stage)
    asked = before.figures.requests
    settings = {"CAMPAIGN": before.campaign, "EXPECTED": 200, "ACCOUNTS": asked, "AGAIN": 1}
    run = checked("same_again", stage.ask("coupons", **settings))
    issued = stage.staff.issued(before.campaign)
    if issued <= asked:
        return run
    return replace(run, findings=[*run.findings, f"same_again: {issued} coupons for {asked} accounts"])


def orders(stage: Stage, *, seconds: int = 0, vus: int = sizes.VUS) -> Run:
    """Orders of three lines, of products that neighbours in time share or don't."""
    return _orders(stage, "orders", seconds=seconds, vus=vus, ORDER_LINES=3)


def hot_orders(stage: Stage, *, row: str = "hot_orders", vus: int = sizes.VUS) -> Run:
    """Orders of one product, the same for all."""
    return _orders(stage, row, vus=vus, ORDER_LINES=1, PRODUCTS=stage.hot_product)


def hot_crowd(stage: Stage) -> Run:
    """The same by very many buyers."""
    return hot_orders(stage, row="hot_crowd", vus=stage.size.hot_vus)


def coupon_list(stage: Stage) -> Run:
    """A page of the own coupons of accounts that have as many or more."""
    users = stage.staff.users[-LISTED_ACCOUNTS:]
    callers = [user["access"] for user in users]
    missing = LISTED_COUPONS - stage.count(COUPONS_OF, users[-1]["id"])
    # One campaign after another: an account may have few calls under way.
    for _ in range(missing):
        body = json.dumps({"campaign": stage.campaign("lists", quantity=len(callers))})
        asked = [connections.request("/api/v1/coupons", body, access=access) for access in callers]
        statuses = connections.open_and_ask(stage.instance.port, asked).statuses
        if statuses != {201: len(asked)}:
            raise SetupError(f"the accounts of the lists can't be given their coupons: {dict(statuses)}")
    return _list(stage, "coupon_list", "/coupons", callers)


def product_list(stage: Stage) -> Run:
    """The first page of the products."""
    users = stage.staff.users[-LISTED_ACCOUNTS:]
    return _list(stage, "product_list", "/products", [user["access"] for user in users])


def order_list(stage: Stage) -> Run:
    """The newest page of all accounts' orders, asked for by staff."""
    if stage.count(ORDERS) < LISTED_ORDERS:
        orders(stage, seconds=1)
    return _list(stage, "order_list", "/orders", [stage.staff.token])


def grants(stage: Stage) -> Run:
    """Points that staff gives to one account after the other."""
    before = stage.count(GRANTS)
    tokens = _tokens(stage, "grants", [stage.staff.token])
    users = stage.staff.write("user-ids", [user["id"] for user in stage.staff.users])
    figures = stage.ask("grants", TOKENS=tokens, USERS=users, RUN=f"bench-grant-{before}", AGAIN=1)
    return checked("grants", figures, stage.count(GRANTS) - before)


LISTS: Mapping[str, Callable[[Stage], Run]] = {
    "coupon_list": coupon_list,
    "product_list": product_list,
    "grants": grants,
    "order_list": order_list,
}
"""Plain calls: pages of lists, and what staff calls."""


def _orders(stage: Stage, row: str, *, seconds: int = 0, vus: int, **settings: object) -> Run:
    before = stage.count(ORDERS)
    figures = stage.ask("orders", seconds=seconds, vus=vus, RUN=f"bench-{before}", **settings)
    return checked(row, figures, stage.count(ORDERS) - before)


def _list(stage: Stage, row: str, path: str, callers: list[str]) -> Run:
    return checked(row, stage.ask("list", TOKENS=_tokens(stage, row, callers), LIST=path, AGAIN=1))


def _tokens(stage: Stage, name: str, callers: list[str]) -> object:
    return stage.staff.write(f"tokens-{name}", {"users": [{"access": access} for access in callers]})


def checked(row: str, figures: Figures, made: int | None = None) -> Run:
    """The run, with what is wrong with its answers; `made` is the number of rows that they made."""
    return Run(row=row, figures=figures, findings=list(_findings(row, figures, made)))


def _findings(row: str, figures: Figures, made: int | None) -> Iterator[str]:
    """No other answer was due: every account asked once, and there was enough for all."""
    if figures.errors or not figures.succeeded:
        told = ", ".join(f"{count} x {status}" for status, count in figures.statuses.items() if count)
        yield f"{row}: {figures.errors} of {figures.requests} answers were not what was owed: {told}"
    # A request that failed for k6 may have been done all the same.
    if made is not None and not figures.succeeded <= made <= figures.requests:
        yield f"{row}: {figures.succeeded} were answered with success, and {made} were made"
