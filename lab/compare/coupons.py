"""Cases that issue coupons: a campaign each, and the check of its rows afterwards."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lab.bench.stage import Staff, wait_until
from lab.compare.figures import Figures
from lab.compare.scenarios import PARTNER, Case
from scripts.stack import SetupError, database, readiness

POOL_STRATEGY = "code_pool"
CODES_AT_ONCE = 10_000
"""One call makes them in a few seconds."""
PATIENCE_SECONDS, QUICK_PATIENCE_SECONDS = 100, 30
CONFIRM_SECONDS = 60
"""For the sweeper to get the answer of a partner that hadn't answered."""
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
SELECT COUNT(*) AS codes, COALESCE(SUM(code.status = 'issued'), 0) AS issued,
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


def prepare(staff: Staff, case: Case) -> dict[str, Any]:
    """Make the campaign of the case; the settings of k6."""
    terms = {"partner": PARTNER} if case.variant == "partner" else {}
    quantity = case.load.quantity
    if case.strategy == POOL_STRATEGY:
        terms["code_source"] = "pool"
    campaign = staff.campaign(f"Lab {case.name}", strategy=case.strategy, quantity=quantity, **terms)
    if case.strategy == POOL_STRATEGY:
        for made in range(0, quantity, CODES_AT_ONCE):
            count = min(quantity - made, CODES_AT_ONCE)
            staff.call("POST", f"/campaigns/{campaign}/codes", {"count": count})
    patience = QUICK_PATIENCE_SECONDS if case.is_quick else PATIENCE_SECONDS
    return {"CAMPAIGN": campaign, "PATIENCE": patience, "PERSISTS": int(case.scenario.persists)}


def check(staff: Staff, case: Case, settings: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """The campaign's coupons: wrong rows by kind, the laws that they break, and the findings."""
    campaign = settings["CAMPAIGN"]
    if case.variant == "partner":
        wait_until(lambda: not _confirming(staff, campaign), within_seconds=CONFIRM_SECONDS)
    found = database.row(staff.instance, ROWS, campaign)
    wrong = wrong_rows(
        found,
        confirming=_confirming(staff, campaign),
        pool=database.row(staff.instance, POOL, campaign),
        has_positions=not case.is_control,
        has_pool=found["codes_added"] > 0,
    )
    findings = list(_compare_with_answers(found, figures, sells_out=case.load.sells_out))
    if case.variant == "partner":
        findings += _compare_with_partner(staff, campaign)
    return {
        "coupons": found["coupons"],
        "wrong": {kind: number for _, kind, number in wrong if number},
        "broken": sorted({law for law, _, number in wrong if number}),
        "findings": findings,
    }


def wrong_rows(
    found: Mapping[str, int],
    *,
    confirming: int,
    pool: Mapping[str, int],
    has_positions: bool,
    has_pool: bool,
) -> list[tuple[str, str, int]]:
    """How many rows are wrong, by law and kind."""
    coupons, issued, borne = found["coupons"], int(pool["issued"]), int(pool["borne"])
    not_counted = abs(coupons - found["issued"]) + abs(confirming - found["confirming"])
    wrong = [
        ("L1", "coupons over the quantity", max(0, coupons + confirming - found["quantity"])),
        ("L1", "coupons not counted", not_counted),
        ("L2", "accounts with several", coupons - found["accounts"]),
    ]
    if has_positions:
        gaps = abs(coupons - found["positions"]) + abs(found["last"] - coupons) + abs(found["first"] - 1)
        wrong.append(("L2", "positions missing or repeated", gaps))
    if has_pool:
        wrong += [
            ("L3", "codes lost", abs(found["codes_added"] - pool["codes"])),
            ("L3", "codes issued without their coupon", abs(issued - borne)),
            ("L3", "coupons without a code of the pool", abs(coupons - borne)),
        ]
    return wrong


def _compare_with_answers(found: Mapping[str, int], figures: Figures, *, sells_out: bool) -> Iterator[str]:
    """Rows = answers; a caller without a definite answer may have one or not. With `sells_out` there were
    more patient callers than coupons: then all are issued."""
    coupons, quantity = found["coupons"], found["quantity"]
    if not figures.coupons <= coupons <= figures.coupons + figures.unsure:
        yield (
            f"{coupons} coupons are in the database, and {figures.coupons} callers were answered with theirs "
            f"({figures.unsure} without a definite answer)"
        )
    if sells_out and coupons < quantity:
        yield f"{coupons} of {quantity} coupons are issued after {figures.asked} requests"


def _confirming(staff: Staff, campaign: int) -> int:
    return int(database.rows(staff.instance, CONFIRMING, campaign)[0][0])


def _compare_with_partner(staff: Staff, campaign: int) -> Iterator[str]:
    """The partner has registered the campaign's coupons, and none that isn't in the database."""
    status, text = readiness.ask(staff.instance.partner_port, "GET", "/registrations?status=registered")
    if status != 200:
        raise SetupError(f"the partner's book answered {status}: {text[:300]}")
    theirs = {one["code"] for one in json.loads(text)["results"]}
    ours = {code for (code,) in database.rows(staff.instance, CODES, campaign)}
    known = {code for (code,) in database.rows(staff.instance, CONFIRMED, PARTNER)}
    for code in sorted(ours - theirs)[:3]:
        yield f"coupon {code} is not in the partner's book"
    for code in sorted(theirs - known)[:3]:
        yield f"code {code} is in the partner's book, and of no coupon"
    if confirming := _confirming(staff, campaign):
        yield f"{confirming} slots are still being confirmed {CONFIRM_SECONDS} s after the last answer"
