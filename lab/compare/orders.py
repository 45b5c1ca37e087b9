"""Cases that place orders and pay them: coupons issued ahead, and the check of the orders that settled."""

import time
from collections.abc import Mapping
from typing import Any

from lab.bench.stage import Staff, wait_until
from lab.bench.workloads import paying
from lab.compare import loads
from lab.compare.figures import Figures
from lab.compare.scenarios import Case
from scripts.stack import database

ISSUING_CALLERS, ISSUE_SECONDS, PATIENCE_SECONDS = 50, 300, 60
ENOUGH_UNITS = 1_000_000
"""On hand of each product that is ordered: those of the demo would be sold out within a ramp."""
PLACED_ONLY = "placed"
UNKNOWN = ("0", "503 unavailable")
"""Answers after which an order may have been placed, or not."""


def prepare(staff: Staff, case: Case) -> dict[str, Any]:
    """The settings of k6. Outside of ramps every buyer of the case is issued a coupon."""
    began_at = database.rows(staff.instance, paying.NOW)[0][0]
    products = staff.write("products", staff.product_ids(on_hand=ENOUGH_UNITS))
    settings = {"PRODUCTS": products, "RUN": f"lab-{time.time_ns()}", "BEGAN_AT": began_at}
    if case.load.is_ramp:
        return settings | {"PAYS": int(case.variant != PLACED_ONLY), "PATIENCE": PATIENCE_SECONDS}
    return settings | {"PAYS": 1, "PATIENCE": 0, "CODES": _issue_coupons(staff, case)}


def _issue_coupons(staff: Staff, case: Case) -> object:
    """A file with a coupon for each of the case's accounts."""
    accounts = case.load.accounts
    campaign = staff.campaign(f"Lab {case.name}", strategy="group_commit", quantity=accounts)
    issuing = loads.until_all_asked(ISSUING_CALLERS, ISSUE_SECONDS, accounts=accounts)
    settings = {"TOKENS": staff.tokens_of(accounts), "CAMPAIGN": campaign, "PATIENCE": 0}
    loads.run_k6("coupons", issuing, staff.instance, **settings)
    return staff.codes_of(campaign, accounts)


def check(staff: Staff, case: Case, settings: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Wait until every order has ended; how many were paid in a second, and what is wrong with them."""
    began_at = settings["BEGAN_AT"]
    unfinished = lambda: database.rows(staff.instance, paying.UNFINISHED, began_at)[0][0]  # noqa: E731
    wait_until(lambda: not unfinished(), within_seconds=paying.SETTLE_SECONDS)
    found = paying.Orders(**database.row(staff.instance, paying.PLACED, began_at))
    paid = found.placed if settings["PAYS"] else 0
    kinds = {
        "orders open for too long": int(unfinished()),
        "orders not paid, or paid without a payment": abs(paid - found.paid),
        "paid orders whose coupon isn't redeemed": found.paid - found.redeemed if "CODES" in settings else 0,
    }
    wrong = {kind: number for kind, number in kinds.items() if number}
    findings = [f"{number} {kind}" for kind, number in wrong.items()]
    answered = figures.answers.get("201", 0) + figures.answers.get("202", 0)
    unknown = sum(figures.answers.get(answer, 0) for answer in UNKNOWN)
    if not answered <= found.placed <= answered + unknown:
        findings.append(
            f"{found.placed} orders are in the database, and {answered} were answered 201 or 202 "
            f"({unknown} without a definite answer)"
        )
    settled = {"settled_per_second": round(found.paid / found.seconds, 1)} if found.seconds else {}
    return {
        **({} if case.load.is_ramp else settled),
        "placed": found.placed,
        "paid": found.paid,
        "wrong": wrong,
        "broken": [],
        "findings": findings,
    }
