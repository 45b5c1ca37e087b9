"""Before a case and after it: its campaign or its buyers' coupons, and what is wrong with its rows."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from lab.bench import loads
from lab.compare.scenarios import Case
from lab.load import ratio
from lab.stack import database
from lab.stage import Stage
from scripts.stack import readiness, waiting

PARTNER, POOL_STRATEGY, CODES_AT_ONCE = "convenience_store", "code_pool", 10_000
PATIENCE_SECONDS, QUICK_PATIENCE_SECONDS, BUYERS_PATIENCE_SECONDS, CONFIRM_SECONDS = 100, 30, 60, 60
"""Of callers; and for the sweeper to get the answer of a partner that hadn't answered."""
ROWS = """
SELECT campaign.quantity, COUNT(coupon.id) AS coupons,
    GREATEST(COUNT(coupon.id) + campaign.confirming, campaign.quantity) - campaign.quantity
        AS `coupons over the quantity`,
    GREATEST(COUNT(coupon.id), campaign.issued) - LEAST(COUNT(coupon.id), campaign.issued)
        AS `coupons not counted`
FROM coupons_campaign AS campaign LEFT JOIN coupons_coupon AS coupon ON coupon.campaign_id = campaign.id
WHERE campaign.id = %s GROUP BY campaign.id
"""
"""All else that the laws say of a campaign is for the audit."""
CONFIRMING = "SELECT COUNT(*) FROM coupons_confirmation WHERE campaign_id = %s"
CODES = "SELECT code FROM coupons_coupon WHERE campaign_id = %s"
CONFIRMED = """
SELECT coupon.code FROM coupons_coupon AS coupon JOIN coupons_campaign AS campaign
    ON campaign.id = coupon.campaign_id
WHERE campaign.partner = %s
"""
UNKNOWN = ("0", "503 unavailable")
"""Answers after which an order may have been placed, or not."""


def prepare_coupons(stage: Stage, case: Case) -> dict[str, Any]:
    """Make the campaign of the case; the settings of k6."""
    quantity = case.quantity or case.accounts
    terms = {"partner": PARTNER} if case.variant == "partner" else {}
    terms |= {"code_source": "pool"} if case.strategy == POOL_STRATEGY else {}
    campaign = stage.campaign(f"Lab {case.name}", strategy=case.strategy, quantity=quantity, **terms)
    for made in range(0, quantity if case.strategy == POOL_STRATEGY else 0, CODES_AT_ONCE):
        stage.call("POST", f"/campaigns/{campaign}/codes", {"count": min(quantity - made, CODES_AT_ONCE)})
    patience = QUICK_PATIENCE_SECONDS if case.is_quick else PATIENCE_SECONDS
    return {"CAMPAIGN": campaign, "PATIENCE": patience, "PERSISTS": int(case.persists)}


def check_coupons(
    stage: Stage, case: Case, settings: Mapping[str, Any], answers: Mapping[str, Any]
) -> dict[str, Any]:
    """The campaign's coupons, wrong rows by kind, and the findings."""
    campaign, findings = settings["CAMPAIGN"], list[str]()
    if case.variant == "partner":
        waiting.left(lambda: stage.number(CONFIRMING, campaign), within_seconds=CONFIRM_SECONDS)
        findings += _partner_differences(stage, campaign)
    found = database.row(stage.instance, ROWS, campaign)
    quantity, coupons = int(found.pop("quantity")), int(found.pop("coupons"))
    findings += differences(quantity, coupons, answers, sells_out=case.sells_out)
    wrong = {kind: int(number) for kind, number in found.items() if number}
    findings += [] if case.is_control else [f"{number} {kind}" for kind, number in wrong.items()]
    return {"campaign": campaign, "coupons": coupons, "wrong": wrong, "broken": [], "findings": findings}


def differences(quantity: int, coupons: int, answers: Mapping[str, Any], *, sells_out: bool) -> Iterator[str]:
    """Rows = answers; a caller without a definite answer may have one or not."""
    if not answers["coupons"] <= coupons <= answers["coupons"] + answers["unsure"]:
        told = f"{answers['coupons']} callers have theirs, {answers['unsure']} are unsure"
        yield f"{coupons} coupons are there, {told}"
    if sells_out and coupons < quantity:
        yield f"{coupons} of {quantity} coupons are issued after {answers['asked']} requests"


def _partner_differences(stage: Stage, campaign: int) -> Iterator[str]:
    """The partner has registered the campaign's coupons, and none that isn't in the database."""
    _, text = readiness.ask(stage.instance.partner_port, "GET", "/registrations?status=registered")
    theirs = {one["code"] for one in json.loads(text)["results"]}
    ours, known = (
        {code for (code,) in stage.rows(*asked)} for asked in ((CODES, campaign), (CONFIRMED, PARTNER))
    )
    if lost := sorted(ours - theirs):
        yield f"coupons {lost[:3]} are not in the partner's book"
    if lost := sorted(theirs - known):
        yield f"codes {lost[:3]} are in the partner's book, and of no coupon"
    if left := stage.number(CONFIRMING, campaign):
        yield f"{left} slots are still being confirmed {CONFIRM_SECONDS} s after the last answer"


def prepare_orders(stage: Stage, case: Case) -> dict[str, Any]:
    """The settings of k6. Where there are no steps every buyer of the case is issued a coupon before."""
    [(since,)] = stage.rows(loads.NOW)
    settings = {"PRODUCTS": stage.files["PRODUCTS"], "RUN": f"lab-{time.time_ns()}", "SINCE": since}
    if len(case.vus) > 1:
        return settings | {"PAYS": int(case.variant == "paid"), "PATIENCE": BUYERS_PATIENCE_SECONDS}
    return settings | {"PAYS": 1, "PATIENCE": 0} | stage.issue(f"Lab {case.name}", case.accounts)


def check_orders(
    stage: Stage, case: Case, settings: Mapping[str, Any], answers: Mapping[str, Any]
) -> dict[str, Any]:
    """Wait until every order has ended; how many were paid in a second, and what is wrong with them."""
    made, of = loads.settled(stage, settings["SINCE"]), answers["answers"]
    told, unknown = (sum(of.get(answer, 0) for answer in some) for some in (("201", "202"), UNKNOWN))
    pays, has_coupon = bool(settings["PAYS"]), "CODES" in settings
    found = loads.wrong_orders(
        case.name, made, answered=told, most=told + unknown, pays=pays, has_coupon=has_coupon
    )
    rate = {"settled_per_second": round(ratio(made["paid"], made["seconds"]), 1)} if has_coupon else {}
    return {
        "placed": made["placed"],
        "paid": made["paid"],
        "wrong": {},
        "broken": [],
        "findings": [*found],
        **rate,
    }


SORTS = {"coupons": (prepare_coupons, check_coupons), "orders": (prepare_orders, check_orders)}
