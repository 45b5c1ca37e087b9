"""Before a case and after it: its campaign or its buyers' coupons, and what is wrong with its rows."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from lab import load
from lab.bench import loads
from lab.compare.scenarios import Case
from lab.stack import database
from lab.stage import Stage, wait_until
from scripts.stack import readiness

PARTNER, POOL_STRATEGY, CODES_AT_ONCE = "convenience_store", "code_pool", 10_000
PATIENCE_SECONDS, QUICK_PATIENCE_SECONDS, BUYERS_PATIENCE_SECONDS, CONFIRM_SECONDS = 100, 30, 60, 60
"""Of callers; and for the sweeper to get the answer of a partner that hadn't answered."""
ENOUGH_UNITS = 1_000_000
"""On hand of each product that is ordered: those of the demo would be sold out within a ramp."""
ROWS = """
SELECT campaign.quantity, campaign.issued, campaign.confirming, campaign.codes_added,
    COUNT(coupon.id) AS coupons,
    COUNT(DISTINCT coupon.account_id) AS accounts,
    COUNT(DISTINCT coupon.position) AS positions,
    COALESCE(MIN(coupon.position), 1) AS first,
    COALESCE(MAX(coupon.position), 0) AS last
FROM coupons_campaign AS campaign LEFT JOIN coupons_coupon AS coupon ON coupon.campaign_id = campaign.id
WHERE campaign.id = %s GROUP BY campaign.id
"""
CONFIRMING = "SELECT COUNT(*) FROM coupons_confirmation WHERE campaign_id = %s"
POOL = """
SELECT COUNT(*) AS codes, COALESCE(SUM(code.status = 'issued'), 0) AS pool_issued,
    COALESCE(SUM(code.status = 'issued' AND coupon.campaign_id = code.campaign_id), 0) AS borne
FROM coupons_poolcode AS code LEFT JOIN coupons_coupon AS coupon ON coupon.code = code.code
WHERE code.campaign_id = %s
"""
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
    quantity = case.load.quantity or case.load.accounts
    terms = {"partner": PARTNER} if case.variant == "partner" else {}
    terms |= {"code_source": "pool"} if case.strategy == POOL_STRATEGY else {}
    campaign = stage.campaign(f"Lab {case.name}", strategy=case.strategy, quantity=quantity, **terms)
    if case.strategy == POOL_STRATEGY:
        for made in range(0, quantity, CODES_AT_ONCE):
            stage.call("POST", f"/campaigns/{campaign}/codes", {"count": min(quantity - made, CODES_AT_ONCE)})
    patience = QUICK_PATIENCE_SECONDS if case.is_quick else PATIENCE_SECONDS
    return {"CAMPAIGN": campaign, "PATIENCE": patience, "PERSISTS": int(case.scenario.persists)}


def check_coupons(
    stage: Stage, case: Case, settings: Mapping[str, Any], answers: Mapping[str, Any]
) -> dict[str, Any]:
    """The campaign's coupons: wrong rows by kind, the laws that they break, and the findings."""
    campaign = settings["CAMPAIGN"]
    has_partner, confirming = case.variant == "partner", lambda: stage.number(CONFIRMING, campaign)
    if has_partner:
        wait_until(lambda: not confirming(), within_seconds=CONFIRM_SECONDS)
    found = database.row(stage.instance, ROWS, campaign) | database.row(stage.instance, POOL, campaign)
    wrong = wrong_rows({**found, "unconfirmed": confirming()}, is_control=case.is_control)
    findings = list(differences(found, answers, sells_out=case.load.sells_out))
    if has_partner:
        findings += _partner_differences(stage, campaign)
    return {
        "wrong": {kind: number for _, kind, number in wrong if number},
        "broken": sorted({law for law, _, number in wrong if number}),
        "findings": findings,
        "coupons": found["coupons"],
    }


def wrong_rows(found: Mapping[str, Any], *, is_control: bool) -> list[tuple[str, str, int]]:
    """How many rows are wrong, by law and kind. The control gives no positions."""
    coupons, unconfirmed, borne = found["coupons"], found["unconfirmed"], int(found["borne"])
    gaps = abs(coupons - found["positions"]) + abs(found["last"] - coupons) + abs(found["first"] - 1)
    not_counted = abs(coupons - found["issued"]) + abs(unconfirmed - found["confirming"])
    wrong = [
        ("L1", "coupons over the quantity", max(0, coupons + unconfirmed - found["quantity"])),
        ("L1", "coupons not counted", not_counted),
        ("L2", "accounts with several", coupons - found["accounts"]),
        ("L2", "positions missing or repeated", 0 if is_control else gaps),
    ]
    if found["codes_added"]:
        wrong += [
            ("L3", "codes lost", abs(found["codes_added"] - found["codes"])),
            ("L3", "codes issued without their coupon", abs(int(found["pool_issued"]) - borne)),
            ("L3", "coupons without a code of the pool", abs(coupons - borne)),
        ]
    return wrong


def differences(found: Mapping[str, int], answers: Mapping[str, Any], *, sells_out: bool) -> Iterator[str]:
    """Rows = answers; a caller without a definite answer may have one or not."""
    coupons, unsure = found["coupons"], answers["unsure"]
    if not answers["coupons"] <= coupons <= answers["coupons"] + unsure:
        yield f"{coupons} coupons are there, {answers['coupons']} callers have theirs, {unsure} are unsure"
    if sells_out and coupons < found["quantity"]:
        yield f"{coupons} of {found['quantity']} coupons are issued after {answers['asked']} requests"


def _partner_differences(stage: Stage, campaign: int) -> Iterator[str]:
    """The partner has registered the campaign's coupons, and none that isn't in the database."""
    path = "/registrations?status=registered"
    theirs = {
        one["code"]
        for one in json.loads(readiness.ask(stage.instance.partner_port, "GET", path)[1])["results"]
    }
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
    products = stage.write("products", stage.products(on_hand=ENOUGH_UNITS))
    settings = {"PRODUCTS": products, "RUN": f"lab-{time.time_ns()}", "SINCE": since}
    if len(case.load.vus) > 1:
        return settings | {"PAYS": int(case.variant == "paid"), "PATIENCE": BUYERS_PATIENCE_SECONDS}
    accounts = case.load.accounts
    campaign = stage.campaign(f"Lab {case.name}", quantity=accounts)
    issuing = {"executor": "shared-iterations", "vus": 50, "iterations": accounts, "maxDuration": "300s"}
    own = {"LOADS": json.dumps({"all": issuing}), "PAUSE": 0, "CAMPAIGN": campaign, "PATIENCE": 0}
    tokens = stage.tokens_of(stage.users[:accounts])
    load.run("lab/coupons", stage.instance, within_seconds=600, TOKENS=tokens, **own)
    return settings | {"PAYS": 1, "PATIENCE": 0, "CODES": stage.codes_of(campaign, accounts)}


def check_orders(
    stage: Stage, case: Case, settings: Mapping[str, Any], answers: Mapping[str, Any]
) -> dict[str, Any]:
    """Wait until every order has ended; how many were paid in a second, and what is wrong with them."""
    made = loads.settled(stage, settings["SINCE"])
    paid, redeemed = made.placed * settings["PAYS"], made.paid if "CODES" in settings else 0
    kinds = {
        "orders open for too long": stage.number(loads.UNFINISHED, settings["SINCE"]),
        "orders not paid, or paid without a payment": abs(paid - made.paid),
        "paid orders whose coupon isn't redeemed": abs(redeemed - made.redeemed),
    }
    wrong = {kind: round(number) for kind, number in kinds.items() if number}
    findings = [f"{number} {kind}" for kind, number in wrong.items()]
    told = sum(answers["answers"].get(status, 0) for status in ("201", "202"))
    unknown = sum(answers["answers"].get(answer, 0) for answer in UNKNOWN)
    if not told <= made.placed <= told + unknown:
        findings.append(
            f"{made.placed} orders are there, {told} were answered so, and {unknown} without an answer"
        )
    settled = {"settled_per_second": round(made.paid / made.seconds, 1)} if made.seconds else {}
    counts = {"placed": made.placed, "paid": made.paid, "wrong": wrong, "broken": [], "findings": findings}
    return counts | ({} if len(case.load.vus) > 1 else settled)
