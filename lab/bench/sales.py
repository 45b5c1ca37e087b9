"""The rows of a sale with a waiting room: joining, polling, waiting for the admission, and ordering
under it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lab.bench import loads
from lab.bench.rows import ROWS, Measured
from lab.stage import Stage, say
from scripts.stack import waiting

HIGHEST_RATE, MINUTES_OF_ENTRIES = 6_000, 4
"""Admissions a minute: so that the entries last for that many minutes, and never more than this."""
AT_ONCE = 10**6
"""A rate that admits all at once."""
ADMITTED_FOR_SECONDS = 3_600
OF_ENTRIES = {"admitted_for_seconds": ADMITTED_FOR_SECONDS}
WAITING, BEGUN_BEFORE_SECONDS = 1_000, 10
"""Entries whose polls wait, and how long before the first of them is admitted; k6 starts in this time."""
ORDERS_A_ROUND = 2_000
IS_ORDERED = "SELECT is_ordered FROM sales_sale WHERE id = %s"
PASSED = "SELECT passed_position FROM sales_sale WHERE id = %s"
LEFT = "SELECT last_position - passed_position FROM sales_sale WHERE id = %s"
FROM_POSITION = """
SELECT id, account_id FROM sales_saleentry WHERE sale_id = %s AND position >= %s ORDER BY position LIMIT %s
"""


def measure(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """Every row of sales; takes two minutes and the time in which the accounts join."""
    entries = len(stage.users)
    rate = min(HIGHEST_RATE, entries // MINUTES_OF_ENTRIES)
    sale = stage.shop.create_sale(stage.product_ids[-1], in_seconds=3_600, rate_per_minute=rate, **OF_ENTRIES)
    say(f"{entries:,} accounts join …")
    yield loads.measure(stage, "sale_entries", SALE=sale)
    stage.shop.call("PATCH", f"/sales/{sale}", {"opens_at": datetime.now(UTC).isoformat()})
    is_drawn = partial(stage.number, IS_ORDERED, sale)
    waiting.until(is_drawn, f"sale {sale} isn't drawn after a minute", within_seconds=60)
    # The next entries, and for each the time from its admission to the answer of its poll.
    first, most = stage.number(PASSED, sale) + rate * BEGUN_BEFORE_SECONDS // 60, min(WAITING, rate // 4)
    own = _entries(stage, sale, first, most) | {"HOLD": ADMITTED_FOR_SECONDS}
    yield loads.measure(stage, "sale_poll_wait", **own)
    # Polls of the last third of the entries, which wait all the time, between null calls.
    polls = partial(loads.measure, stage, "sale_poll", **_entries(stage, sale, 2 * entries // 3, entries))
    yield from loads.between(stage, [polls], partial(loads.measure, stage, "null"))
    yield from _orders(stage)


def _entries(stage: Stage, sale: int, first: int, most: int) -> dict[str, Any]:
    """Settings of k6: entries from that position on, and the tokens of their accounts."""
    rows, by_id = stage.rows(FROM_POSITION, sale, first, most), {user["id"]: user for user in stage.users}
    entries = stage.write("entries", [str(entry) for entry, _ in rows])
    return {"ENTRIES": entries, "TOKENS": stage.tokens_of([by_id[account] for _, account in rows])}


def _orders(stage: Stage) -> Iterator[Measured]:
    """Rounds of orders under admission between orders without, each round by other accounts."""
    a_round = min(ORDERS_A_ROUND, len(stage.users) // stage.size.rounds)
    sale = stage.shop.create_sale(stage.product_ids[-2], rate_per_minute=AT_ONCE, **OF_ENTRIES)
    buyers, ordered = stage.users[: stage.size.rounds * a_round], iter(range(stage.size.rounds))
    loads.measure(stage, "sale_entries", SALE=sale, TOKENS=stage.tokens_of(buyers))
    waiting.left(partial(stage.number, LEFT, sale), within_seconds=60)

    def under() -> Measured:
        first = next(ordered) * a_round
        own = {"TOKENS": stage.tokens_of(buyers[first : first + a_round]), "SALE": sale}
        product = stage.write("sale-product", stage.product_ids[-2:-1])
        return loads.measure(stage, "sale_order", PRODUCTS=product, **own)

    plain = partial(
        loads.measure, stage, "hot_orders", ACCOUNTS=a_round, SECONDS=ROWS["sale_order"].k6["SECONDS"]
    )
    for run in loads.between(stage, [under], plain):
        of_plain = {"of_plain_order": run.figures.get("of_null_processor", 1)}
        yield replace(run, figures={**run.figures, **of_plain})
