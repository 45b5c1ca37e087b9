"""The rows of a sale with a waiting room: joining, polling, waiting for the admission, and ordering
under it."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lab.bench import connections, loads
from lab.bench.rows import Measured
from lab.bench.stage import Stage
from lab.load import percentile, ratio
from lab.stage import say, wait_until
from scripts.stack import SetupError

JOINING_SECONDS = 120
"""At most for all accounts to join."""
HIGHEST_RATE, MINUTES_OF_ENTRIES = 6_000, 4
"""Admissions a minute: so that the entries last for that many minutes, and never more than this."""
AT_ONCE = 10**6
"""A rate that admits all at once."""
WAITING, WAIT_SECONDS, BEGUN_BEFORE_SECONDS = 1_000, 30, 4
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


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A sale that has opened: when, by the host's clock, and how many joined before."""

    id: int
    opened_at: float
    rate_per_minute: int
    entries: int


def measure(stage: Stage) -> Iterator[Measured]:
    """Every row of sales; takes two minutes and the time in which the accounts join."""
    rate = min(HIGHEST_RATE, len(stage.users) // MINUTES_OF_ENTRIES)
    sale = _create(stage, "drawn", stage.product_ids[-1], opens_in=3_600, rate_per_minute=rate)
    say(f"{len(stage.users):,} accounts join …")
    yield (joined := _join(stage, sale))
    stage.call("PATCH", f"/sales/{sale}", {"opens_at": datetime.now(UTC).isoformat()})
    opened_at = time.time()
    wait_until(lambda: stage.number(IS_ORDERED, sale), within_seconds=60, pause_seconds=0.05)
    if not stage.number(IS_ORDERED, sale):
        raise SetupError(f"the draw of sale {sale} has no places after a minute")
    entries = round(joined.figures["made"])
    drop = Drop(id=sale, opened_at=opened_at, rate_per_minute=rate, entries=entries)
    yield _wait_for_admission(stage, drop)
    yield from _polls(stage, drop)
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
    run = stage.measure("sale_entries", "sale_entries", made=made, **own)
    return replace(run, figures={**run.figures, "made": made()})


def _polls(stage: Stage, drop: Drop) -> Iterator[Measured]:
    """Polls of the last third of the entries, which wait all the time, between null calls."""
    rows = stage.rows(FROM_POSITION, drop.id, 2 * drop.entries // 3, drop.entries)
    tokens = stage.tokens("sale-poll", _tokens(stage, rows))
    files = {"TOKENS": tokens, "ENTRIES": stage.write("entries", [str(entry) for entry, _ in rows])}
    polls = partial(stage.measure, "sale_poll", "sale_poll", AGAIN=1, **files)
    return stage.beside_null([polls], partial(loads.null, stage))


def _wait_for_admission(stage: Stage, drop: Drop) -> Measured:
    """A poll with `Prefer: wait` for each of the next entries: the time from its admission to its answer."""
    ahead = drop.rate_per_minute * BEGUN_BEFORE_SECONDS // 60
    first = stage.number(PASSED, drop.id) + ahead
    rows = stage.rows(FROM_POSITION, drop.id, first, min(WAITING, drop.rate_per_minute // 4))
    asked = [
        connections.request(
            f"/api/v1/sale-entries/{entry}", access=token, method="GET", Prefer=f"wait={WAIT_SECONDS}"
        )
        for (entry, _), token in zip(rows, _tokens(stage, rows), strict=True)
    ]
    answers = asyncio.run(connections.ask_all(stage.instance.port, asked, WAIT_SECONDS + 10))
    findings = connections.unexpected("sale_poll_wait", answers, {200})
    admitted_at = _admitted_at(stage, drop)
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
        says=f"{drop.rate_per_minute:,} a minute are admitted",
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


def _admitted_at(stage: Stage, drop: Drop) -> Mapping[str, float]:
    """When each entry was admitted, in seconds since the epoch."""
    found = stage.rows(ADMITTED_AT, drop.id)
    return {str(entry): at.replace(tzinfo=UTC).timestamp() for entry, at in found}


def _tokens(stage: Stage, rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """The tokens of the accounts of these entries."""
    access = {user["id"]: user["access"] for user in stage.users}
    return [access[account] for _, account in rows]
