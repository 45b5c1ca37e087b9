"""What no single load measures of sales: a waiting room from its first entry to an order, and a draw."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from lab import filling, stage as stages
from lab.bench import loads
from lab.bench.judging import Measured, Runs
from lab.bench.loads import BenchStage
from lab.bench.rows import SALE_ORDER
from lab.load import Settings, ratio
from scripts.stack import waiting

ADMITTED_SECONDS = 3_600
# Admissions a minute: so that the entries last for that many minutes, and never more than this.
ENTRIES_LAST_MINUTES = 4
HIGHEST_RATE = 6_000
POLLS_BEGIN_SECONDS = 10  # before the first of the entries is admitted: k6 starts in this time
WATCHED_ENTRIES = 1_000
ORDERS_A_ROUND = 2_000
ENOUGH_RATE = 10**6  # admits all who order at once
DRAW_WAITING = 5_000  # accounts in the other sale of a draw
DRAW_RATE = 600
DRAW_BEGINS_SECONDS = 2  # before the sale opens: k6 starts in this time
DRAWN_SECONDS = 120
DRAW_VUS = 4

SALE = """
SELECT passed_position, last_position - passed_position AS waiting, is_ordered FROM sales_sale WHERE id = %s
"""
ENTRIES = """
SELECT id, account_id FROM sales_saleentry WHERE sale_id = %s AND position >= %s ORDER BY position LIMIT %s
"""


class Sale(NamedTuple):
    """The last position that was admitted, how many wait, and whether their order is drawn."""

    passed_position: int
    waiting: int
    is_ordered: int


class Entry(NamedTuple):
    id: str
    account_id: int


def _read(stage: BenchStage, sale: int) -> Sale:
    [row] = stage.read(Sale, SALE, sale)
    return row


def _create(stage: BenchStage, product: int, **terms: Any) -> int:
    return stage.shop.create_sale(product, admitted_for_seconds=ADMITTED_SECONDS, **terms)


def _open(stage: BenchStage, sale: int) -> None:
    stage.shop.call("PATCH", f"/sales/{sale}", {"opens_at": datetime.now(UTC).isoformat()})


def sales(stage: BenchStage) -> Runs:
    """Every row of sales; takes two minutes and the time in which the accounts join."""
    users = stage.users
    rate = min(HIGHEST_RATE, len(users) // ENTRIES_LAST_MINUTES)
    sale = _create(stage, stage.product_ids[-1], in_seconds=3_600, rate_per_minute=rate)
    stages.say(f"{len(users):,} accounts join …")
    yield loads.measure(stage, "sale_entries", SALE=sale)
    _open(stage, sale)

    def is_drawn() -> bool:
        return bool(_read(stage, sale).is_ordered)

    waiting.until(is_drawn, f"sale {sale} isn't drawn after a minute", within_seconds=60)
    # The next entries, and for each the time from its admission to the answer of its poll.
    first = _read(stage, sale).passed_position + rate * POLLS_BEGIN_SECONDS // 60
    next_entries = entries(stage, sale, first, min(WATCHED_ENTRIES, rate // 4))
    yield loads.measure(stage, "sale_poll_wait", **next_entries, HOLD=ADMITTED_SECONDS)
    # Polls of the last third of the entries, which wait all the time, between null calls.
    polls = partial(
        loads.measure, stage, "sale_poll", **entries(stage, sale, 2 * len(users) // 3, len(users))
    )
    yield from loads.between(stage, [polls], partial(loads.measure, stage, "null"))
    yield from orders_of_a_sale(stage)


def entries(stage: BenchStage, sale: int, first: int, most: int) -> Settings:
    """Settings of k6: entries from that position on, and the tokens of their accounts."""
    user_of = {user["id"]: user for user in stage.users}
    found = stage.read(Entry, ENTRIES, sale, first, most)
    users = [user_of[entry.account_id] for entry in found]
    return {
        "ENTRIES": stage.write("entries", [str(entry.id) for entry in found]),
        "TOKENS": stage.tokens_of(users),
    }


def orders_of_a_sale(stage: BenchStage) -> Runs:
    """Rounds of orders under admission between orders without, each round by other accounts."""
    a_round = min(ORDERS_A_ROUND, len(stage.users) // stage.size.rounds)
    sale = _create(stage, stage.product_ids[-2], rate_per_minute=ENOUGH_RATE)
    buyers = stage.users[: stage.size.rounds * a_round]
    rounds = iter(range(0, len(buyers), a_round))
    loads.measure(stage, "sale_entries", SALE=sale, TOKENS=stage.tokens_of(buyers))
    waiting.left(lambda: _read(stage, sale).waiting, within_seconds=60)

    def admitted() -> Measured:
        first = next(rounds)
        tokens = stage.tokens_of(buyers[first : first + a_round])
        product = stage.write("sale-product", stage.product_ids[-2:-1])
        return loads.measure(stage, "sale_order", PRODUCTS=product, TOKENS=tokens, SALE=sale)

    plain = partial(loads.measure, stage, "hot_orders", ACCOUNTS=a_round, SECONDS=SALE_ORDER.k6["SECONDS"])
    for run in loads.between(stage, [admitted], plain):
        yield replace(run, figures={**run.figures, "of_plain_order": run.figures.get("of_null_processor", 1)})


class Beside(NamedTuple):
    """What payments and admissions of another sale take, before a draw and beside it."""

    paid: Measured
    seconds_an_admission: float


def draw(stage: BenchStage) -> Runs:
    """How long a large draw takes, and what it costs another sale and payments; accounts join by SQL."""
    entrants = stage.size.entrants
    drawn = _create(stage, stage.product_ids[-3], in_seconds=3_600, rate_per_minute=DRAW_RATE)
    other = _create(stage, stage.product_ids[-4], rate_per_minute=DRAW_RATE)
    loads.measure(stage, "sale_entries", SALE=other, TOKENS=stage.tokens_of(stage.users[:DRAW_WAITING]))
    stages.say(f"{entrants:,} accounts join …")
    filling.join(stage.instance, drawn, count=entrants)
    figures: dict[str, float] = {}

    def is_ordered() -> bool:
        return bool(_read(stage, drawn).is_ordered)

    def is_admitted() -> bool:
        return bool(_read(stage, drawn).passed_position)

    def open_drawn(began_at: float) -> None:
        _open(stage, drawn)
        waiting.until(is_ordered, "draw: no ordered_seconds", within_seconds=DRAWN_SECONDS)
        figures["ordered_seconds"] = time.monotonic() - began_at
        waiting.until(is_admitted, "draw: no admitted_seconds", within_seconds=DRAWN_SECONDS)
        figures["admitted_seconds"] = time.monotonic() - began_at

    quiet = beside_payments(stage, other, lambda began_at: None)
    beside = beside_payments(stage, other, open_drawn)
    figures["of_quiet_payment"] = ratio(beside.paid.figures["p50_ms"], quiet.paid.figures["p50_ms"])
    figures["of_quiet_admission"] = ratio(beside.seconds_an_admission, quiet.seconds_an_admission)
    findings = [*quiet.paid.findings, *beside.paid.findings]
    yield Measured(row="draw", figures=figures, findings=findings, says=f"{entrants:,} entrants")


def beside_payments(stage: BenchStage, other: int, act: Callable[[float], None]) -> Beside:
    """Do this while buyers pay, and the other sale admits; it is given when it began."""
    products = stage.write("free", stage.product_ids[:-4])
    with ThreadPoolExecutor(1) as threads:
        paying = threads.submit(
            loads.measure,
            stage,
            "paid_card",
            VUS=DRAW_VUS,
            SECONDS=stage.size.draw_seconds,
            PRODUCTS=products,
        )
        time.sleep(DRAW_BEGINS_SECONDS)
        began_at = time.monotonic()
        before = _read(stage, other).passed_position
        act(began_at)
        paid = paying.result()
    admitted = _read(stage, other).passed_position - before
    return Beside(paid, ratio(time.monotonic() - began_at, admitted))
