"""Cases that place and pay orders: coupons issued ahead, and the check of the orders once they settled."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from scripts.bench import load
from scripts.bench.stage import Staff, wait_until
from scripts.lab import loads
from scripts.lab.figures import Figures
from scripts.lab.scenarios import Case
from scripts.stack import database

ISSUING_CALLERS, ISSUE_SECONDS, SETTLE_SECONDS = 50, 180, 60
ORDERS = """
SELECT COUNT(*) AS placed, COALESCE(SUM(orders.status = 'paid'), 0) AS paid,
    COALESCE(SUM(orders.status IN ('awaiting_payment', 'paying')), 0) AS unfinished,
    COALESCE(SUM(orders.status = 'paid' AND coupon.status = 'redeemed'), 0) AS redeemed,
    COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(orders.placed_at), MAX(orders.paid_at)) / 1000000, 0) AS seconds
FROM orders_order AS orders JOIN coupons_coupon AS coupon ON coupon.code = orders.coupon_code
WHERE coupon.campaign_id = %s
"""


def prepare(staff: Staff, case: Case) -> dict[str, Any]:
    """Issue a coupon to every buyer of the case; the settings of k6."""
    accounts = case.load.accounts
    campaign = staff.campaign(f"Lab {case.name}", strategy="group_commit", quantity=accounts)
    issuing = loads.settings(loads.until_all_asked(ISSUING_CALLERS, ISSUE_SECONDS, accounts=accounts))
    settings = issuing | {"TOKENS": staff.tokens_of(accounts), "CAMPAIGN": campaign, "PATIENCE": 0}
    load.measure("lab/coupons", settings, instance=staff.instance, within_seconds=ISSUE_SECONDS + 60)
    products = staff.write("products", staff.product_ids(on_hand=1))
    codes = staff.codes_of(campaign, accounts)
    return {"CAMPAIGN": campaign, "PRODUCTS": products, "CODES": codes, "RUN": f"lab-{campaign}"}


def check(staff: Staff, case: Case, settings: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Wait until every order has ended; how many were paid in a second, and what is wrong with them."""
    read = partial(database.row, staff.instance, ORDERS, settings["CAMPAIGN"])
    wait_until(lambda: not read()["unfinished"], within_seconds=SETTLE_SECONDS)
    found = read()
    placed, paid, seconds = int(found["placed"]), int(found["paid"]), float(found["seconds"])
    answered = figures.answers.get("201", 0) + figures.answers.get("202", 0)
    kinds = {
        "orders open for too long": int(found["unfinished"]),
        "paid orders whose coupon isn't redeemed": paid - int(found["redeemed"]),
    }
    wrong = {kind: number for kind, number in kinds.items() if number}
    findings = [f"{number} {kind}" for kind, number in wrong.items()]
    if not answered <= placed <= answered + figures.answers.get("0", 0):
        findings.append(f"{placed} orders are in the database, and {answered} were answered 201 or 202")
    return {
        "settled_per_second": round(paid / seconds, 1) if seconds else 0,
        "paid": paid,
        "wrong": wrong,
        "broken": [],
        "findings": findings,
    }
