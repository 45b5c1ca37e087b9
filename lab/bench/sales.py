"""The rows of a sale with a waiting room: joining, polling, waiting for the admission, and ordering
under it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lab import load
from lab.bench import loads
from lab.bench.rows import ROWS, Measured
from lab.load import ratio
from lab.stage import Stage, say
from scripts.stack import waiting

HIGHEST_RATE, MINUTES_OF_ENTRIES = 6_000, 4
"""Admissions a minute: so that the entries last for that many minutes, and never more than this."""
AT_ONCE = 10**6
"""A rate that admits all at once."""
ADMITTED_FOR_SECONDS = 3_600
WAITING, BEGUN_BEFORE_SECONDS = 1_000, 8
"""Entries whose polls wait, and how long before the first of them is admitted; k6 starts in this time."""
ORDERS_A_ROUND = 2_000
IS_ORDERED = "SELECT is_ordered FROM sales_sale WHERE id = %s"
PASSED = "SELECT passed_position FROM sales_sale WHERE id = %s"
LEFT = "SELECT last_position - passed_position FROM sales_sale WHERE id = %s"
JOINED = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = %s"
USED = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = %s AND status = 'used'"
FROM_POSITION = """
SELECT id, account_id FROM sales_saleentry WHERE sale_id = %s AND position >= %s ORDER BY position LIMIT %s
"""


def measure(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """Every row of sales; takes two minutes and the time in which the accounts join."""
    rate = min(HIGHEST_RATE, len(stage.users) // MINUTES_OF_ENTRIES)
    sale = _create(stage, "drawn", stage.product_ids[-1], opens_in=3_600, rate_per_minute=rate)
    say(f"{len(stage.users):,} accounts join …")
    yield loads.measure(stage, "sale_entries", SALE=sale)
    stage.call("PATCH", f"/sales/{sale}", {"opens_at": datetime.now(UTC).isoformat()})
    is_drawn = partial(stage.number, IS_ORDERED, sale)
    waiting.until(is_drawn, f"sale {sale} isn't drawn after a minute", within_seconds=60)
    yield _wait_for_admission(stage, sale, rate)
    # Polls of the last third of the entries, which wait all the time, between null calls.
    entries = stage.number(JOINED, sale)
    polls = partial(loads.measure, stage, "sale_poll", **_entries(stage, sale, 2 * entries // 3, entries))
    yield from loads.between_null(stage, [polls], partial(loads.measure, stage, "null"))
    yield from _orders(stage)


def _create(stage: Stage, name: str, product: int, *, opens_in: float, rate_per_minute: int) -> int:
    """The id of a new sale of that product with a waiting room."""
    now = datetime.now(UTC)
    terms = {
        "name": f"Bench {name}",
        "products": [product],
        "opens_at": (now + timedelta(seconds=opens_in)).isoformat(),
        "closes_at": (now + timedelta(days=1)).isoformat(),
        "admission": "queue",
        "rate_per_minute": rate_per_minute,
        "admitted_for_seconds": ADMITTED_FOR_SECONDS,
    }
    return int(stage.call("POST", "/sales", terms)["id"])


def _entries(stage: Stage, sale: int, first: int, most: int) -> dict[str, Any]:
    """Settings of k6: entries from that position on, and the tokens of their accounts."""
    rows, by_id = stage.rows(FROM_POSITION, sale, first, most), {user["id"]: user for user in stage.users}
    entries = stage.write("entries", [str(entry) for entry, _ in rows])
    return {"ENTRIES": entries, "TOKENS": stage.tokens_of([by_id[account] for _, account in rows])}


def _wait_for_admission(stage: Stage, sale: int, rate: int) -> Measured:
    """A poll with `Prefer: wait` for each of the next entries: the time from its admission to its answer."""
    first, most = stage.number(PASSED, sale) + rate * BEGUN_BEFORE_SECONDS // 60, min(WAITING, rate // 4)
    row, own = "sale_poll_wait", _entries(stage, sale, first, most) | {"HOLD": ADMITTED_FOR_SECONDS}
    figures = load.run("sale_wait", stage.instance, within_seconds=100, **ROWS[row].k6 | own)
    unadmitted, sums = figures.count("unadmitted"), {"p50_ms": "med", "p95_ms": "p(95)", "max_ms": "max"}
    return Measured(
        row=row,
        figures={"connections": most} | {name: figures.number("late", of) for name, of in sums.items()},
        findings=[f"{row}: {unadmitted} of {most} were not admitted"] if unadmitted else [],
        says=f"{rate:,} a minute are admitted",
    )


def _orders(stage: Stage) -> Iterator[Measured]:
    """Rounds of orders under admission between orders without, each round by other accounts."""
    a_round = min(ORDERS_A_ROUND, len(stage.users) // stage.size.rounds)
    product, plain = stage.product_ids[-2], stage.product_ids[0]
    sale = _create(stage, "at once", product, opens_in=0, rate_per_minute=AT_ONCE)
    joining = stage.tokens_of(stage.users[: stage.size.rounds * a_round])
    loads.measure(stage, "sale_entries", SALE=sale, TOKENS=joining)
    waiting.left(partial(stage.number, LEFT, sale), within_seconds=60)
    for number in range(stage.size.rounds):
        users = stage.users[number * a_round : (number + 1) * a_round]
        before, under, after = (
            loads.measure(
                stage,
                "sale_order",
                PRODUCTS=stage.write("sale-product", [one]),
                TOKENS=stage.tokens_of(users),
            )
            for one in (plain, product, plain)
        )
        mean = (before.figures["processor_us"] + after.figures["processor_us"]) / 2
        findings = [finding for run in (before, under, after) for finding in run.findings]
        succeeded, used = (number + 1) * a_round, stage.number(USED, sale)
        if used != succeeded:
            findings.append(f"sale_order: {succeeded} orders were sent, and {used} entries are used")
        of_plain = {"of_plain_order": ratio(under.figures["processor_us"], mean)}
        yield replace(under, figures={**under.figures, **of_plain}, findings=findings)
