"""The row of paid orders: points, card and coupon in one call, and the wait until it has settled."""

import time
from collections.abc import Iterator

from scripts import backlog, database
from scripts.bench import sizes
from scripts.bench.measured import Measured, Run, single
from scripts.bench.stage import Stage
from scripts.load import Figures

GIVE_SECONDS = 60
PAID = """
SELECT COUNT(*) AS placed, COALESCE(SUM(orders.status = 'paid'), 0) AS paid,
    COALESCE(SUM(orders.status = 'paid' AND coupon.status = 'redeemed'), 0) AS redeemed
FROM orders_order AS orders JOIN coupons_coupon AS coupon ON coupon.code = orders.coupon_code
WHERE coupon.campaign_id = %s
"""


def measure(stage: Stage) -> Measured:
    """Only 201 counts as paid: who was told 202 has to ask again. What is left afterwards is told as well."""
    accounts = stage.size.paid_accounts
    campaign = stage.campaign("paid", quantity=accounts)
    figures = stage.ask(
        "paid",
        seconds=stage.size.paid_seconds,
        vus=sizes.PAYERS,
        ACCOUNTS=accounts,
        CODES=_give(stage, campaign),
        RUN=f"bench-paid-{campaign}",
    )
    events, sagas = backlog.left(stage.instance)
    ended_at = time.monotonic()
    backlog.wait_until_worked_off(stage.instance)
    worked_off = time.monotonic() - ended_at
    later = figures.statuses.get("202", 0)
    findings = [*_answers(figures), *_rows(stage, campaign, figures)]
    run = Run(row="paid", figures=figures, findings=findings)
    measured = single(run, backlog=events + sagas, worked_off_seconds=worked_off)
    return Measured(
        row="paid",
        figures=measured.figures,
        findings=measured.findings,
        says=f"{sizes.PAYERS} buyers; {later} of {figures.requests} were told 202; after the load {sagas} "
        f"payments and {events} events were left, worked off in {worked_off:.0f} s; {measured.says}",
    )


def _give(stage: Stage, campaign: int) -> object:
    """Give each buyer a coupon of the campaign; the file of their codes."""
    accounts = stage.size.paid_accounts
    stage.ask("coupons", seconds=GIVE_SECONDS, CAMPAIGN=campaign, ACCOUNTS=accounts)
    return stage.staff.codes_of(campaign, accounts)


def _answers(figures: Figures) -> Iterator[str]:
    """201 is due, or 202 where it takes too long."""
    others = {status: count for status, count in figures.statuses.items() if status != "202" and count}
    if others or not figures.succeeded:
        told = ", ".join(f"{count} x {status}" for status, count in others.items())
        yield f"paid: {figures.succeeded} of {figures.requests} were told that they had paid; others: {told}"


def _rows(stage: Stage, campaign: int, figures: Figures) -> Iterator[str]:
    """Every order was paid, with its coupon redeemed, once the backlog was worked off."""
    found = database.row(stage.instance, PAID, campaign)
    placed, paid, redeemed = (int(found[name]) for name in ("placed", "paid", "redeemed"))
    told = figures.succeeded + figures.statuses.get("202", 0)
    if not (told <= placed <= figures.requests and placed == paid == redeemed):
        yield (
            f"paid: {told} were told of an order, {placed} were placed, {paid} paid, and {redeemed} of "
            "them with their coupon"
        )
