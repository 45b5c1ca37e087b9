"""Cases that issue coupons: a campaign each, and the reckoning of its rows afterwards."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.bench.stage import Staff
from scripts.lab.figures import Figures
from scripts.lab.scenarios import PARTNER, Case
from scripts.stack import SetupError, database, readiness

POOL_STRATEGY = "code_pool"
CODES_AT_ONCE = 10_000
"""What one call makes in a few seconds."""
PATIENCE_SECONDS, QUICK_PATIENCE_SECONDS = 100, 30
CONFIRM_SECONDS = 60
"""How long the sweeper may take to hear from a partner who hadn't answered."""

RECKONING = """
SELECT campaign.quantity, campaign.issued, campaign.confirming, campaign.codes_added,
    COUNT(coupon.id) AS coupons,
    COUNT(DISTINCT coupon.account_id) AS accounts,
    COUNT(DISTINCT coupon.position) AS positions,
    COALESCE(MIN(coupon.position), 1) AS first,
    COALESCE(MAX(coupon.position), 0) AS last
FROM coupons_campaign AS campaign LEFT JOIN coupons_coupon AS coupon ON coupon.campaign_id = campaign.id
WHERE campaign.id = %s GROUP BY campaign.id
"""
AWAITED = "SELECT COUNT(*) FROM coupons_confirmation WHERE campaign_id = %s"
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
    """Make the campaign of the case; what k6 has to know."""
    load = case.load
    terms = {"partner": PARTNER} if case.variant == "partner" else {}
    has_pool = case.strategy == POOL_STRATEGY
    if has_pool:
        terms["code_source"] = "pool"
    name = f"Lab {case.name}"
    campaign = staff.campaign(name, strategy=case.strategy, quantity=load.quantity, **terms)
    if has_pool:
        _add_codes(staff, campaign, load.quantity)
    patience = QUICK_PATIENCE_SECONDS if case.is_quick else PATIENCE_SECONDS
    return {"CAMPAIGN": campaign, "PATIENCE": patience, "PERSISTS": int(case.scenario.persists)}


def _add_codes(staff: Staff, campaign: int, count: int) -> None:
    while count > 0:
        some = min(count, CODES_AT_ONCE)
        staff.call("POST", f"/campaigns/{campaign}/codes", {"count": some})
        count -= some


def reckon(staff: Staff, case: Case, known: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """What the campaign's rows came to: wrong rows by kind, and the laws that they break."""
    campaign = known["CAMPAIGN"]
    if case.variant == "partner":
        _wait_for_partner(staff, campaign)
    found = database.row(staff.instance, RECKONING, campaign)
    awaited = database.rows(staff.instance, AWAITED, campaign)[0][0]
    pool = database.row(staff.instance, POOL, campaign)
    wrong = wrong_rows(
        found,
        awaited=awaited,
        pool=pool,
        has_positions=not case.is_control,
        has_pool=found["codes_added"] > 0,
    )
    findings = [*_answers(found["coupons"], figures)]
    if case.load.sells_out:
        findings += _sold_out(found, figures)
    if case.variant == "partner":
        findings += _partner(staff, campaign)
    return {
        "coupons": found["coupons"],
        "wrong": {kind: number for _, kind, number in wrong if number},
        "broken": sorted({law for law, _, number in wrong if number}),
        "findings": findings,
    }


def wrong_rows(
    found: Mapping[str, int],
    *,
    awaited: int,
    pool: Mapping[str, int],
    has_positions: bool,
    has_pool: bool,
) -> list[tuple[str, str, int]]:
    """How many rows are wrong, by law and kind."""
    coupons, taken = found["coupons"], found["coupons"] + awaited
    wrong = [
        ("L1", "coupons over the quantity", max(0, taken - found["quantity"])),
        ("L1", "coupons not counted", abs(coupons - found["issued"]) + abs(awaited - found["confirming"])),
        ("L2", "accounts with several", coupons - found["accounts"]),
    ]
    if has_positions:
        gaps = abs(coupons - found["positions"]) + abs(found["last"] - coupons) + abs(found["first"] - 1)
        wrong.append(("L2", "positions missing or repeated", gaps))
    if has_pool:
        lost = abs(found["codes_added"] - pool["codes"])
        wrong += [
            ("L3", "codes lost", lost),
            ("L3", "codes issued without their coupon", abs(int(pool["issued"]) - int(pool["borne"]))),
            ("L3", "coupons without a code of the pool", abs(coupons - int(pool["borne"]))),
        ]
    return wrong


def _answers(coupons: int, figures: Figures) -> Iterator[str]:
    """Rows = answers; who never heard may have one or not."""
    if not figures.coupons <= coupons <= figures.coupons + figures.unsure:
        yield (
            f"{coupons} coupons are in the database, and {figures.coupons} callers were told of theirs "
            f"({figures.unsure} never heard)"
        )


def _sold_out(found: Mapping[str, int], figures: Figures) -> Iterator[str]:
    """More asked than there are, and waited for it: then all are given."""
    if found["coupons"] < found["quantity"]:
        yield f"{found['coupons']} of {found['quantity']} coupons are issued after {figures.asked} requests"


def _wait_for_partner(staff: Staff, campaign: int) -> None:
    """Return when nothing is being confirmed any more, or it has taken too long: then the laws tell."""
    deadline = time.monotonic() + CONFIRM_SECONDS
    while database.rows(staff.instance, AWAITED, campaign)[0][0] and time.monotonic() < deadline:
        time.sleep(0.5)


def _partner(staff: Staff, campaign: int) -> Iterator[str]:
    """The partner's book holds the campaign's coupons, and none that nobody has."""
    ours = {code for (code,) in database.rows(staff.instance, CODES, campaign)}
    theirs = _book(staff)
    known = {code for (code,) in database.rows(staff.instance, CONFIRMED, PARTNER)}
    for code in sorted(ours - theirs)[:3]:
        yield f"coupon {code} is not in the partner's book"
    for code in sorted(theirs - known)[:3]:
        yield f"code {code} is in the partner's book, and nobody's coupon"
    awaited = database.rows(staff.instance, AWAITED, campaign)[0][0]
    if awaited:
        yield f"{awaited} slots are still being confirmed {CONFIRM_SECONDS} s after the last answer"


def _book(staff: Staff) -> set[str]:
    """The codes that the partner takes for registered."""
    status, text = readiness.ask(staff.instance.partner_port, "GET", "/registrations?status=registered")
    if status != 200:
        raise SetupError(f"the partner's book answered {status}: {text[:300]}")
    return {one["code"] for one in json.loads(text)["results"]}
