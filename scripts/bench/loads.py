"""The loads of k6: each runs once, and compares what the shop counts with what k6 was answered."""

from collections.abc import Iterator
from dataclasses import replace

from scripts import database
from scripts.bench import sizes
from scripts.bench.measured import Run
from scripts.bench.stage import Stage
from scripts.load import Figures

ORDERS = "SELECT COUNT(*) FROM orders_order"


def null(stage: Stage, *, seconds: int = 0, vus: int = sizes.VUS) -> Run:
    """The ceiling. It makes nothing, so there is nothing to count."""
    figures = stage.ask("null", seconds=seconds or stage.size.seconds, vus=vus, CAMPAIGN=1)
    return checked("null", figures)


def coupons(
    stage: Stage,
    *,
    row: str = "coupon",
    strategy: str = "group_commit",
    seconds: int = 0,
    vus: int = sizes.VUS,
    pause: float = 0,
) -> Run:
    """A coupon for each account that asks, of a campaign that has enough."""
    campaign = stage.campaign(row, strategy=strategy)
    figures = stage.ask(
        "coupons", seconds=seconds or stage.size.seconds, vus=vus, CAMPAIGN=campaign, PAUSE=pause
    )
    issued = stage.staff.call("GET", f"/campaigns/{campaign}")["issued"]
    return replace(checked(row, figures, issued), campaign=campaign)


def sold_out(stage: Stage) -> Run:
    """Refusals by a campaign whose only coupon is gone."""
    campaign = stage.campaign("sold out", quantity=1)
    stage.staff.call("POST", "/coupons", {"campaign": campaign})
    figures = stage.ask("coupons", seconds=stage.size.seconds, CAMPAIGN=campaign, EXPECTED=409)
    told = stage.staff.call("GET", f"/campaigns/{campaign}")
    findings = list(_errors("sold_out", figures))
    if (told["issued"], told["status"]) != (1, "sold_out"):
        findings.append(f"sold_out: {told['issued']} coupons of 1 are issued, and it is {told['status']}")
    return Run(row="sold_out", figures=figures, findings=findings)


def pessimistic(stage: Stage) -> Run:
    """Coupons without group commit."""
    return coupons(stage, row="pessimistic", strategy="pessimistic")


def many_buyers(stage: Stage) -> Run:
    """Coupons by very many buyers without a rest."""
    return coupons(stage, row="buyers_1000", vus=stage.size.hot_vus)


def same_again(stage: Stage, before: Run | None = None) -> Run:
    """Every account that got a coupon in the run before asks for it again, and again."""
    before = before or coupons(stage)
    figures = stage.ask(
        "coupons",
        seconds=stage.size.seconds,
        CAMPAIGN=before.campaign,
        EXPECTED=200,
        ACCOUNTS=before.figures.requests,
        AGAIN=1,
    )
    issued = stage.staff.call("GET", f"/campaigns/{before.campaign}")["issued"]
    findings = list(_errors("same_again", figures))
    if issued > before.figures.requests:
        findings.append(f"same_again: {issued} coupons for {before.figures.requests} accounts")
    return Run(row="same_again", figures=figures, findings=findings)


def crowd(stage: Stage) -> Run:
    """Many buyers who rest between their requests, as people do."""
    return coupons(
        stage,
        row="crowd",
        seconds=stage.size.crowd_seconds,
        vus=stage.size.crowd_vus,
        pause=sizes.CROWD_PAUSE_SECONDS,
    )


def orders(stage: Stage, *, seconds: int = 0, vus: int = sizes.VUS) -> Run:
    """Orders of three lines, of products that neighbours in time share or don't."""
    return _orders(stage, "orders", seconds=seconds, vus=vus, ORDER_LINES=3)


def hot_orders(stage: Stage, *, row: str = "hot_orders", vus: int = sizes.VUS) -> Run:
    """Orders of one product, the same for all."""
    return _orders(stage, row, seconds=0, vus=vus, ORDER_LINES=1, PRODUCTS=stage.hot_product)


def hot_crowd(stage: Stage) -> Run:
    """The same by very many buyers."""
    return hot_orders(stage, row="hot_crowd", vus=stage.size.hot_vus)


def _orders(stage: Stage, row: str, *, seconds: int, vus: int, **settings: object) -> Run:
    before = count_orders(stage)
    figures = stage.ask(
        "orders", seconds=seconds or stage.size.seconds, vus=vus, RUN=f"bench-{before}", **settings
    )
    placed = count_orders(stage) - before
    return checked(row, figures, placed)


def count_orders(stage: Stage) -> int:
    """How many orders there are, of whatever status."""
    return int(database.rows(stage.instance, ORDERS)[0][0])


def checked(row: str, figures: Figures, made: int | None = None) -> Run:
    """The run, with what is wrong with its answers; `made` is the number of rows that they made."""
    findings = list(_errors(row, figures))
    if made is not None:
        findings += _miscounted(row, figures, made)
    return Run(row=row, figures=figures, findings=findings)


def _errors(row: str, figures: Figures) -> Iterator[str]:
    """Nobody was owed another answer: every account asked once, and there was enough for all."""
    if figures.errors or not figures.succeeded:
        told = ", ".join(f"{count} x {status}" for status, count in figures.statuses.items() if count)
        yield f"{row}: {figures.errors} of {figures.requests} answers were not what was owed: {told}"


def _miscounted(row: str, figures: Figures, made: int) -> Iterator[str]:
    # A request that failed for k6 may have been done all the same.
    if not figures.succeeded <= made <= figures.requests:
        yield f"{row}: {figures.succeeded} were answered with success, and {made} were made"
