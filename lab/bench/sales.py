"""The rows of a sale with a waiting room: joining, polling, waiting for the admission, and ordering
under it."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lab.bench import connections, loads
from lab.bench.rows import Measured
from lab.bench.stage import Stage
from lab.load import percentile, ratio
from lab.stage import say, wait_until
from scripts.stack import waiting

JOINING_SECONDS = 120
"""At most for all accounts to join."""
HIGHEST_RATE, MINUTES_OF_ENTRIES = 6_000, 4
"""Admissions a minute: so that the entries last for that many minutes, and never more than this."""
AT_ONCE = 10**6
"""A rate that admits all at once."""
WAITING, WAIT, ANSWER_SECONDS, BEGUN_BEFORE_SECONDS = 1_000, "wait=30", 40, 4
"""Entries whose polls wait, for how long, and how long before the first of them is admitted."""
ORDERS_A_ROUND = 2_000
IS_ORDERED = "SELECT is_ordered FROM sales_sale WHERE id = %s"
PASSED = "SELECT passed_position FROM sales_sale WHERE id = %s"
LEFT = "SELECT last_position - passed_position FROM sales_sale WHERE id = %s"
JOINED = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = %s"
USED = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = %s AND status = 'used'"
ADMITTED_AT = "SELECT id, admitted_at FROM sales_saleentry WHERE sale_id = %s AND admitted_at IS NOT NULL"
FROM_POSITION = """
SELECT id, account_id FROM sales_saleentry WHERE sale_id = %s AND position >= %s ORDER BY position LIMIT %s
"""


def measure(stage: Stage) -> Iterator[Measured]:
    """Every row of sales; takes two minutes and the time in which the accounts join."""
    rate = min(HIGHEST_RATE, len(stage.users) // MINUTES_OF_ENTRIES)
    sale = _create(stage, "drawn", stage.product_ids[-1], opens_in=3_600, rate_per_minute=rate)
    say(f"{len(stage.users):,} accounts join …")
    yield _join(stage, sale)
    stage.call("PATCH", f"/sales/{sale}", {"opens_at": datetime.now(UTC).isoformat()})
    is_drawn = lambda: stage.number(IS_ORDERED, sale)  # noqa: E731
    waiting.until(is_drawn, f"sale {sale} isn't drawn after a minute", within_seconds=60)
    yield _wait_for_admission(stage, sale, rate)
    # Polls of the last third of the entries, which wait all the time, between null calls.
    entries = stage.number(JOINED, sale)
    rows = stage.rows(FROM_POSITION, sale, 2 * entries // 3, entries)
    own = {"TOKENS": stage.tokens_of(_users(stage, rows)), "AGAIN": 1}
    own |= {"ENTRIES": stage.write("entries", [str(entry) for entry, _ in rows])}
    polls = partial(stage.measure, "sale_poll", "sale_poll", **own)
    yield from stage.beside_null([polls], partial(loads.null, stage))
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
        "admitted_for_seconds": 3_600,
    }
    return int(stage.call("POST", "/sales", terms)["id"])


def _join(stage: Stage, sale: int, **settings: Any) -> Measured:
    """Every account joins once."""
    made = partial(stage.number, JOINED, sale)
    own = {"seconds": JOINING_SECONDS, "SALE": sale, **settings}
    return stage.measure("sale_entries", "sale_entries", made=made, **own)


def _wait_for_admission(stage: Stage, sale: int, rate: int) -> Measured:
    """A poll with `Prefer: wait` for each of the next entries: the time from its admission to its answer."""
    first = stage.number(PASSED, sale) + rate * BEGUN_BEFORE_SECONDS // 60
    rows = stage.rows(FROM_POSITION, sale, first, min(WAITING, rate // 4))
    asked = [
        connections.request(f"/api/v1/sale-entries/{entry}", method="GET", Prefer=WAIT, access=user["access"])
        for (entry, _), user in zip(rows, _users(stage, rows), strict=True)
    ]
    answers = asyncio.run(connections.ask_all(stage.instance.port, asked, ANSWER_SECONDS))
    findings = connections.unexpected("sale_poll_wait", answers, {200})
    found = stage.rows(ADMITTED_AT, sale)
    admitted_at = {str(entry): at.replace(tzinfo=UTC).timestamp() for entry, at in found}
    late_ms = [
        1000 * (answer.at - admitted_at[str(entry)])
        for (entry, _), answer in zip(rows, answers, strict=True)
        if answer.status == 200 and str(entry) in admitted_at
    ]
    if len(late_ms) < len(rows):
        findings.append(f"sale_poll_wait: {len(rows) - len(late_ms)} of {len(rows)} were not admitted")
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "max_ms": 1.0}
    return Measured(
        row="sale_poll_wait",
        figures={"connections": len(rows)} | {name: percentile(late_ms, one) for name, one in shares.items()},
        findings=findings,
        says=f"{rate:,} a minute are admitted",
    )


def _orders(stage: Stage) -> Iterator[Measured]:
    """Rounds of orders under admission between orders without, each round by other accounts."""
    a_round = min(ORDERS_A_ROUND, len(stage.users) // stage.size.rounds)
    product, plain = stage.product_ids[-2], stage.product_ids[0]
    sale = _create(stage, "at once", product, opens_in=0, rate_per_minute=AT_ONCE)
    _join(stage, sale, TOKENS=stage.tokens_of(stage.users[: stage.size.rounds * a_round]))
    wait_until(lambda: not stage.number(LEFT, sale), within_seconds=60)
    for number in range(stage.size.rounds):
        users = stage.users[number * a_round : (number + 1) * a_round]
        before, under, after = (_order(stage, one, users) for one in (plain, product, plain))
        mean = (before.figures["processor_us"] + after.figures["processor_us"]) / 2
        findings = [finding for run in (before, under, after) for finding in run.findings]
        succeeded, used = (number + 1) * a_round, stage.number(USED, sale)
        if used != succeeded:
            findings.append(f"sale_order: {succeeded} orders were sent, and {used} entries are used")
        of_plain = {"of_plain_order": ratio(under.figures["processor_us"], mean)}
        yield replace(under, figures={**under.figures, **of_plain}, findings=findings)


def _order(stage: Stage, product: int, users: Sequence[Any]) -> Measured:
    """An order of one line of that product by each of these accounts."""
    made = partial(stage.number, loads.ORDERS)
    files = {"PRODUCTS": stage.write("sale-product", [product]), "TOKENS": stage.tokens_of(users)}
    own = {"seconds": JOINING_SECONDS, "RUN": f"bench-sale-{made()}", "ORDER_LINES": 1}
    return stage.measure("sale_order", "orders", made=made, **own, **files)


def _users(stage: Stage, rows: Sequence[tuple[Any, ...]]) -> list[Mapping[str, Any]]:
    """The accounts of these entries."""
    by_id = {user["id"]: user for user in stage.users}
    return [by_id[account] for _, account in rows]
