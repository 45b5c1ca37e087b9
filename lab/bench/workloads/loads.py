"""The loads of k6 by row: each runs once, and compares the rows it made with the answers that k6 counted."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lab.bench import sizes
from lab.bench.load import Figures, Run
from lab.bench.stage import Stage
from lab.bench.workloads import connections
from scripts.stack import SetupError

ORDERS = "SELECT COUNT(*) FROM orders_order"
LISTED_ACCOUNTS, LISTED_COUPONS, LISTED_ORDERS = 20, 50, 50
COUPONS_OF = "SELECT COUNT(*) FROM coupons_coupon WHERE account_id = %s"
CAMPAIGNS = "SELECT COUNT(*) FROM coupons_campaign"
HELD = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = %s AND status = 'held'"
ISSUE_SECONDS = 60
GRANTS = "SELECT COUNT(*) FROM payments_transfer WHERE kind = 'grant'"


def null(stage: Stage, *, seconds: int = 0, vus: int = sizes.VUS) -> Run:
    """The ceiling. It makes no rows."""
    return checked("null", stage.run_k6("null", seconds=seconds, vus=vus, CAMPAIGN=1))


def coupons(
    stage: Stage,
    *,
    row: str = "coupon",
    strategy: str = "group_commit",
    seconds: int = 0,
    vus: int = sizes.VUS,
    pause: float = 0,
) -> Run:
    """A coupon for each account, of a campaign that has enough for all."""
    campaign = stage.campaign(row, strategy=strategy)
    figures = stage.run_k6("coupons", seconds=seconds, vus=vus, CAMPAIGN=campaign, PAUSE=pause)
    return replace(checked(row, figures, stage.staff.issued(campaign)), campaign=campaign)


def crowd(stage: Stage) -> Run:
    """Coupons by many buyers that rest between their requests, as people do."""
    size = stage.size
    pause = sizes.CROWD_PAUSE_SECONDS
    return coupons(stage, row="crowd", seconds=size.crowd_seconds, vus=size.crowd_vus, pause=pause)


def sold_out(stage: Stage) -> Run:
    """Refusals by a campaign whose only coupon is issued."""
    campaign = stage.campaign("sold out", quantity=1)
    stage.staff.call("POST", "/coupons", {"campaign": campaign})
    run = checked("sold_out", stage.run_k6("coupons", CAMPAIGN=campaign, EXPECTED=409))
    found = stage.staff.call("GET", f"/campaigns/{campaign}")
    if (found["issued"], found["status"]) == (1, "sold_out"):
        return run
    finding = f"sold_out: {found['issued']} coupons of 1 are issued, and it is {found['status']}"
    return replace(run, findings=[*run.findings, finding])


def same_again(stage: Stage, before: Run | None = None) -> Run:
    """Every account with a coupon of the run before requests it again, and again."""
    before = before or coupons(stage)
    accounts = before.figures.requests
    settings = {"CAMPAIGN": before.campaign, "EXPECTED": 200, "ACCOUNTS": accounts, "AGAIN": 1}
    run = checked("same_again", stage.run_k6("coupons", **settings))
    issued = stage.staff.issued(before.campaign)
    if issued <= accounts:
        return run
    return replace(run, findings=[*run.findings, f"same_again: {issued} coupons for {accounts} accounts"])


def orders(
    stage: Stage, *, row: str = "orders", seconds: int = 0, vus: int = sizes.VUS, is_hot: bool = False
) -> Run:
    """Orders of three lines, of products that neighbours in time share or don't; if `is_hot`, of one line and
    the same product for all."""
    hot = {"ORDER_LINES": 1, "PRODUCTS": stage.staff.write("hot-product", stage.product_ids[:1])}
    before = stage.count(ORDERS)
    settings = {"RUN": f"bench-{before}", "ORDER_LINES": 3} | (hot if is_hot else {})
    figures = stage.run_k6("orders", seconds=seconds, vus=vus, **settings)
    return checked(row, figures, stage.count(ORDERS) - before)


def coupon_orders(stage: Stage) -> Run:
    """Orders of three lines with the account's own coupon, which is issued before, and not measured."""
    accounts = stage.size.accepted_accounts
    campaign = stage.campaign("issued coupons", quantity=accounts)
    stage.run_k6("coupons", seconds=ISSUE_SECONDS, CAMPAIGN=campaign, ACCOUNTS=accounts)
    codes = stage.staff.codes_of(campaign, accounts)
    return _orders_with_coupon(stage, "coupon_orders", campaign, CODES=codes)


def shared_orders(stage: Stage) -> Run:
    """The same orders with one shared code: the coupons are issued by the orders."""
    code = f"BENCH-{stage.count(CAMPAIGNS)}"
    campaign = stage.campaign("shared code", code_source="shared", shared_code=code)
    run = _orders_with_coupon(stage, "shared_orders", campaign, CODE=code)
    issued, placed = stage.staff.issued(campaign), stage.count(HELD, campaign)
    if issued == placed:
        return run
    finding = f"shared_orders: {issued} coupons are issued, and orders hold {placed}"
    return replace(run, findings=[*run.findings, finding])


def _orders_with_coupon(stage: Stage, row: str, campaign: int, **named: Any) -> Run:
    """Each account's order of three lines; the coupons that orders hold are those of its answers."""
    accounts = stage.size.accepted_accounts
    run = f"bench-{row}-{campaign}"
    figures = stage.run_k6("orders", ACCOUNTS=accounts, RUN=run, ORDER_LINES=3, **named)
    return checked(row, figures, stage.count(HELD, campaign))


def coupon_list(stage: Stage) -> Run:
    """A page of their own coupons, for accounts with as many or more."""
    users = stage.staff.users[-LISTED_ACCOUNTS:]
    tokens = [user["access"] for user in users]
    # One campaign after another: an account may have few calls under way.
    for _ in range(LISTED_COUPONS - stage.count(COUPONS_OF, users[-1]["id"])):
        body = json.dumps({"campaign": stage.campaign("lists", quantity=len(tokens))})
        requests = [connections.request("/api/v1/coupons", body, access=token) for token in tokens]
        statuses = connections.open_and_send(stage.instance.port, requests).statuses
        if statuses != {201: len(requests)}:
            raise SetupError(f"the accounts of the lists can't have their coupons: {dict(statuses)}")
    return _list(stage, "coupon_list", "/coupons", tokens)


def wallet(stage: Stage) -> Run:
    """Balances, for accounts one after the other."""
    return _list(stage, "wallet", "/wallet", [user["access"] for user in stage.staff.users])


def product_list(stage: Stage) -> Run:
    """The first page of the products."""
    users = stage.staff.users[-LISTED_ACCOUNTS:]
    return _list(stage, "product_list", "/products", [user["access"] for user in users])


def order_list(stage: Stage) -> Run:
    """The newest page of all accounts' orders, for staff."""
    if stage.count(ORDERS) < LISTED_ORDERS:
        orders(stage, seconds=1)
    return _list(stage, "order_list", "/orders", [stage.staff.token])


def _list(stage: Stage, row: str, path: str, tokens: list[str]) -> Run:
    file = stage.staff.write_tokens(row, tokens)
    return checked(row, stage.run_k6("list", TOKENS=file, LIST=path, AGAIN=1))


def grants(stage: Stage) -> Run:
    """Points that staff grants to one account after the other."""
    before = stage.count(GRANTS)
    tokens = stage.staff.write_tokens("grants", [stage.staff.token])
    users = stage.staff.write("user-ids", [user["id"] for user in stage.staff.users])
    figures = stage.run_k6("grants", TOKENS=tokens, USERS=users, RUN=f"bench-grant-{before}", AGAIN=1)
    return checked("grants", figures, stage.count(GRANTS) - before)


LISTS: Mapping[str, Callable[[Stage], Run]] = {
    "coupon_list": coupon_list,
    "wallet": wallet,
    "product_list": product_list,
    "grants": grants,
    "order_list": order_list,
}
"""Plain calls: pages of lists, and calls of staff."""
LOADS: Mapping[str, Callable[[Stage], Run]] = {
    "null": null,
    "coupon": coupons,
    "buyers_1000": lambda stage: coupons(stage, row="buyers_1000", vus=stage.size.hot_vus),
    "pessimistic": lambda stage: coupons(stage, row="pessimistic", strategy="pessimistic"),
    "sold_out": sold_out,
    "same_again": same_again,
    "crowd": crowd,
    "orders": orders,
    "hot_orders": lambda stage: orders(stage, row="hot_orders", is_hot=True),
    "hot_crowd": lambda stage: orders(stage, row="hot_crowd", vus=stage.size.hot_vus, is_hot=True),
    **LISTS,
}


def checked(row: str, figures: Figures, made: int | None = None) -> Run:
    """The run, with the errors in its answers; `made` is the number of rows that they made."""
    return Run(row=row, figures=figures, findings=list(_findings(row, figures, made)))


def _findings(row: str, figures: Figures, made: int | None) -> Iterator[str]:
    """No other answer is right: every account sent one request, and there was enough for all."""
    if figures.errors or not figures.succeeded:
        counts = ", ".join(f"{count} x {status}" for status, count in figures.statuses.items() if count)
        yield f"{row}: {figures.errors} of {figures.requests} answers were not the expected one: {counts}"
    # A request that failed for k6 may have been done all the same.
    if made is not None and not figures.succeeded <= made <= figures.requests:
        yield f"{row}: {figures.succeeded} were answered with success, and {made} were made"
