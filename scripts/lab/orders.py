"""Cases that place and pay orders: coupons given ahead, and the reckoning when everything has settled."""

import time
from collections.abc import Mapping
from typing import Any

from scripts.bench import load
from scripts.bench.stage import Staff
from scripts.lab import loads
from scripts.lab.figures import Figures
from scripts.lab.scenarios import Case
from scripts.stack import database

GIVERS, GIVE_SECONDS = 50, 180
SETTLE_SECONDS = 60
OPEN = """
SELECT COUNT(*) FROM orders_order AS orders JOIN coupons_coupon AS coupon ON coupon.code = orders.coupon_code
WHERE coupon.campaign_id = %s AND orders.status IN ('awaiting_payment', 'paying')
"""
PAID = """
SELECT COUNT(*) AS placed, COALESCE(SUM(orders.status = 'paid'), 0) AS paid,
    COALESCE(SUM(orders.status = 'paid' AND coupon.status = 'redeemed'), 0) AS redeemed,
    COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(orders.placed_at), MAX(orders.paid_at)) / 1000000, 0) AS seconds
FROM orders_order AS orders JOIN coupons_coupon AS coupon ON coupon.code = orders.coupon_code
WHERE coupon.campaign_id = %s
"""


def prepare(staff: Staff, case: Case) -> dict[str, Any]:
    """Give every buyer of the case a coupon; what k6 has to know."""
    accounts = case.load.accounts
    campaign = staff.campaign(f"Lab {case.name}", strategy="group_commit", quantity=accounts)
    giving = loads.until_all_asked(GIVERS, GIVE_SECONDS, accounts=accounts)
    known = {"TOKENS": staff.tokens_of(accounts), "CAMPAIGN": campaign, "PATIENCE": 0}
    load.measure(
        "lab/coupons",
        loads.settings(giving) | known,
        instance=staff.instance,
        within_seconds=GIVE_SECONDS + 60,
    )
    codes = staff.codes_of(campaign, accounts)
    return {"CAMPAIGN": campaign, "PRODUCTS": staff.products, "CODES": codes, "RUN": f"lab-{campaign}"}


def reckon(staff: Staff, case: Case, known: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Wait until every order has ended; how many were paid in a second, and what is wrong with them."""
    campaign = known["CAMPAIGN"]
    still_open = _settle(staff, campaign)
    found = database.row(staff.instance, PAID, campaign)
    paid, seconds = int(found["paid"]), float(found["seconds"])
    told = sum(count for answer, count in figures.answers.items() if answer in {"201", "202"})
    wrong = {
        "orders open for too long": still_open,
        "paid orders whose coupon isn't redeemed": paid - int(found["redeemed"]),
    }
    findings = [f"{number} {kind}" for kind, number in wrong.items() if number]
    if not told <= int(found["placed"]) <= told + figures.answers.get("0", 0):
        findings.append(
            f"{found['placed']} orders are in the database, and {told} buyers were told of theirs"
        )
    return {
        "settled_per_second": round(paid / seconds, 1) if seconds else 0,
        "paid": paid,
        "wrong": {kind: number for kind, number in wrong.items() if number},
        "broken": [],
        "findings": findings,
    }


def _settle(staff: Staff, campaign: int) -> int:
    """Wait for the orders of that campaign's coupons; how many are still open."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        still_open = int(database.rows(staff.instance, OPEN, campaign)[0][0])
        if not still_open or time.monotonic() > deadline:
            return still_open
        time.sleep(0.5)
