"""The loads of plain calls: pages of lists, and what staff calls."""

import json
from collections.abc import Callable, Mapping

from scripts import database
from scripts.bench import connections, loads
from scripts.bench.measured import Run
from scripts.bench.stage import Stage
from scripts.setup_error import SetupError

LISTED_ACCOUNTS, LISTED_COUPONS, LISTED_ORDERS = 20, 50, 50
COUPONS_OF = "SELECT COUNT(*) FROM coupons_coupon WHERE account_id = %s"
GRANTS = "SELECT COUNT(*) FROM payments_transfer WHERE kind = 'grant'"


def coupon_list(stage: Stage) -> Run:
    """A page of the own coupons of accounts that have as many or more."""
    users = stage.staff.users[-LISTED_ACCOUNTS:]
    have = int(database.rows(stage.instance, COUPONS_OF, users[-1]["id"])[0][0])
    if have < LISTED_COUPONS:
        _give_coupons(stage, [user["access"] for user in users], LISTED_COUPONS - have)
    return _list(stage, "coupon_list", "/coupons", [user["access"] for user in users])


def product_list(stage: Stage) -> Run:
    """The first page of the products."""
    users = stage.staff.users[-LISTED_ACCOUNTS:]
    return _list(stage, "product_list", "/products", [user["access"] for user in users])


def order_list(stage: Stage) -> Run:
    """The newest page of all accounts' orders, asked for by staff."""
    if loads.count_orders(stage) < LISTED_ORDERS:
        loads.orders(stage, seconds=1)
    return _list(stage, "order_list", "/orders", [stage.staff.token])


def grants(stage: Stage) -> Run:
    """Points that staff gives to one account after the other."""
    before = int(database.rows(stage.instance, GRANTS)[0][0])
    figures = stage.ask(
        "grants",
        seconds=stage.size.seconds,
        TOKENS=_tokens(stage, "grants", [stage.staff.token]),
        USERS=stage.staff.write("user-ids", [user["id"] for user in stage.staff.users]),
        RUN=f"bench-grant-{before}",
        AGAIN=1,
    )
    made = int(database.rows(stage.instance, GRANTS)[0][0]) - before
    return loads.checked("grants", figures, made)


LOADS: Mapping[str, Callable[[Stage], Run]] = {
    "coupon_list": coupon_list,
    "product_list": product_list,
    "grants": grants,
    "order_list": order_list,
}


def _list(stage: Stage, row: str, path: str, callers: list[str]) -> Run:
    figures = stage.ask(
        "list", seconds=stage.size.seconds, TOKENS=_tokens(stage, row, callers), LIST=path, AGAIN=1
    )
    return loads.checked(row, figures)


def _tokens(stage: Stage, name: str, callers: list[str]) -> object:
    return stage.staff.write(f"tokens-{name}", {"users": [{"access": access} for access in callers]})


def _give_coupons(stage: Stage, callers: list[str], number: int) -> None:
    """A coupon of each of so many new campaigns for each of these callers."""
    campaigns = [stage.campaign("lists", quantity=len(callers)) for _ in range(number)]
    bodies = [json.dumps({"campaign": campaign}) for campaign in campaigns]
    # One campaign after another: an account may have few calls under way.
    for body in bodies:
        asked = [connections.request("/api/v1/coupons", body, access=access) for access in callers]
        statuses = connections.open_and_ask(stage.instance.port, asked).statuses
        if statuses != {201: len(asked)}:
            raise SetupError(f"the accounts of the lists can't be given their coupons: {dict(statuses)}")
