"""The rows of a sale with a waiting room: joining, polling, waiting for the admission, and ordering
under it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from lab.bench.load import Measured, Run, percentile, ratio, single, summed_up
from lab.bench.rows import ESTIMATE_ERROR, OF_PLAIN_ORDER
from lab.bench.stage import Stage, wait_until
from lab.bench.workloads import beside_null, connections, loads
from lab.bench.workloads.connections import Answers
from scripts.stack import SetupError, database

ROWS = ENTRIES, POLLS, WAITS, ESTIMATES, ORDERS = (
    "sale_entries",
    "sale_poll",
    "sale_poll_wait",
    "sale_estimate",
    "sale_order",
)
JOINING_SECONDS = 120
"""At most for all accounts to join."""
HIGHEST_RATE, MINUTES_OF_ENTRIES = 6_000, 4
"""Admissions a minute: so that the entries last for that many minutes, and never more than this."""
AT_ONCE = 10**6
"""A rate that admits all at once."""
WAITING, WAIT_SECONDS, BEGUN_BEFORE_SECONDS = 1_000, 30, 4
"""Entries whose polls wait, for how long, and how long before the first of them is admitted."""
ESTIMATED = 50
ORDERS_A_ROUND = 2_000
IS_ORDERED = "SELECT is_ordered FROM sales_sale WHERE id = %s"
PASSED = "SELECT passed_position FROM sales_sale WHERE id = %s"
LEFT = "SELECT last_position - passed_position FROM sales_sale WHERE id = %s"
JOINED = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = %s"
WAITING_FROM = """
SELECT id, account_id FROM sales_saleentry WHERE sale_id = %s AND position >= %s ORDER BY position LIMIT %s
"""
AT_POSITIONS = "SELECT id, position FROM sales_saleentry WHERE sale_id = %s AND position IN ({positions})"
ADMITTED_AT = "SELECT id, admitted_at FROM sales_saleentry WHERE sale_id = %s AND admitted_at IS NOT NULL"
USED = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = %s AND status = 'used'"


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A sale that has opened: when, by the host's clock, and how many joined before."""

    id: int
    opened_at: float
    rate_per_minute: int
    entries: int


def measure(stage: Stage, say: Callable[[str], None]) -> list[Measured]:
    """Every row of sales; takes two minutes and the time in which the accounts join."""
    rate = min(HIGHEST_RATE, len(stage.staff.users) // MINUTES_OF_ENTRIES)
    sale_id = create(stage, "drawn", stage.product_ids[-1], opens_in=3_600, rate_per_minute=rate)
    say(f"{len(stage.staff.users):,} accounts join …")
    joined = join(stage, sale_id)
    drop = open_now(stage, sale_id, rate, joined.figures.succeeded)
    say("Polls that wait for their admission …")
    waited = wait_for_admission(stage, drop)
    say("Polls …")
    polls = [one for one in summed_up(list(poll_rounds(stage, drop))) if one.row == POLLS]
    say("Estimates of the wait, after a minute …")
    estimated = estimates(stage, drop)
    say("Orders under admission …")
    return [single(joined), *polls, waited, estimated, orders(stage)]


def create(stage: Stage, name: str, product: int, *, opens_in: float, rate_per_minute: int) -> int:
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
    return int(stage.staff.call("POST", "/sales", terms)["id"])


def join(stage: Stage, sale_id: int, **settings: Any) -> Run:
    """Every account joins once."""
    figures = stage.run_k6("sale_entries", seconds=JOINING_SECONDS, SALE=sale_id, **settings)
    return loads.checked(ENTRIES, figures, stage.count(JOINED, sale_id))


def open_now(stage: Stage, sale_id: int, rate: int, entries: int) -> Drop:
    """The sale once its draw has places. Raises SetupError if it gets none."""
    stage.staff.call("PATCH", f"/sales/{sale_id}", {"opens_at": datetime.now(UTC).isoformat()})
    opened_at = time.time()
    wait_until(lambda: stage.count(IS_ORDERED, sale_id), within_seconds=60, poll_seconds=0.05)
    if not stage.count(IS_ORDERED, sale_id):
        raise SetupError(f"the draw of sale {sale_id} has no places after {time.time() - opened_at:.0f} s")
    return Drop(id=sale_id, opened_at=opened_at, rate_per_minute=rate, entries=entries)


# --- polls ---


def poll_rounds(stage: Stage, drop: Drop) -> Iterator[Run]:
    """Polls of the last third of the entries, which wait all the time, between null calls."""
    rows = _entries(stage, drop, from_position=2 * drop.entries // 3, number=drop.entries)
    tokens = _tokens(stage, [account for _, account in rows])
    files: dict[str, Any] = {
        "TOKENS": stage.staff.write_tokens("sale-poll", tokens),
        "ENTRIES": stage.staff.write("entries", [entry for entry, _ in rows]),
    }

    def polls() -> Run:
        return loads.checked(POLLS, stage.run_k6("sale_poll", AGAIN=1, **files))

    yield from beside_null.rounds(stage, polls, lambda: loads.null(stage))


# --- polls that wait ---


def wait_for_admission(stage: Stage, drop: Drop) -> Measured:
    """A poll with `Prefer: wait` for each of the next entries: the time from its admission to its answer."""
    ahead = drop.rate_per_minute * BEGUN_BEFORE_SECONDS // 60
    number = min(WAITING, drop.rate_per_minute // 4)
    rows = _entries(stage, drop, from_position=stage.count(PASSED, drop.id) + ahead, number=number)
    headers = {"Prefer": f"wait={WAIT_SECONDS}"}
    requests = [
        connections.request(f"/api/v1/sale-entries/{entry}", "", access=token, headers=headers, method="GET")
        for (entry, _), token in zip(rows, _tokens(stage, [account for _, account in rows]), strict=True)
    ]
    answered_at, came = asyncio.run(_answers(stage.instance.port, requests))
    admitted_at = _admitted_at(stage, drop)
    late = [
        at - admitted_at[entry]
        for (entry, _), at in zip(rows, answered_at, strict=True)
        if at is not None and entry in admitted_at
    ]
    findings = list(connections.unexpected(came, WAITS, expected=(200,)))
    if len(late) < len(rows):
        findings.append(f"{WAITS}: {len(rows) - len(late)} of {len(rows)} were not admitted when answered")
    late.sort()
    return Measured(
        row=WAITS,
        figures={
            "connections": len(rows),
            "p50_ms": _percentile_ms(late, 0.5),
            "p95_ms": _percentile_ms(late, 0.95),
            "max_ms": _percentile_ms(late, 1),
        },
        findings=findings,
        says=f"{drop.rate_per_minute:,} a minute are admitted",
    )


async def _answers(port: int, requests: Sequence[bytes]) -> tuple[list[float | None], Answers]:
    """When each was answered, by the host's clock, None for none; and the answers."""
    offset = time.time() - time.monotonic()
    opened = await connections.open_all(port, len(requests))
    if len(opened) < len(requests):
        raise SetupError(f"{len(opened)} of {len(requests)} connections were accepted")
    await connections.send(opened, requests)
    answers = await connections.read_answers(opened, within_seconds=WAIT_SECONDS + 10)
    at = [
        offset + one.sent_at + answer.seconds if answer.status == 200 else None
        for one, answer in zip(opened, answers, strict=True)
    ]
    return at, Answers(refused=0, answers=answers, seconds=0)


# --- estimates ---


def estimates(stage: Stage, drop: Drop) -> Measured:
    """What entries were estimated to wait once a minute was seen, beside how long they then waited."""
    after_seconds, least_seconds, most_seconds = stage.size.estimates
    time.sleep(max(0.0, drop.opened_at + after_seconds - time.time()))
    a_second = drop.rate_per_minute / 60
    passed = stage.count(PASSED, drop.id)
    farthest = min(most_seconds * a_second, drop.entries - passed - 1)
    nearest = least_seconds * a_second
    step = (farthest - nearest) / ESTIMATED
    wanted = {passed + int(nearest + number * step) for number in range(ESTIMATED)}
    statement = AT_POSITIONS.format(positions=", ".join(map(str, wanted)))
    estimated = {}
    for entry, _ in database.rows(stage.instance, statement, drop.id):
        seconds = stage.staff.call("GET", f"/sale-entries/{entry}")["estimated_wait_seconds"]
        estimated[entry] = (time.time(), seconds)
    wait_until(
        lambda: stage.count(PASSED, drop.id) >= max(wanted),
        within_seconds=3 * most_seconds,
        poll_seconds=1,
    )
    admitted_at = _admitted_at(stage, drop)
    errors = [
        ratio(abs(at + seconds - admitted_at[entry]), admitted_at[entry] - at)
        for entry, (at, seconds) in estimated.items()
        if entry in admitted_at
    ]
    finding = f"{ESTIMATES}: {len(errors)} of {ESTIMATED} were admitted"
    return Measured(
        row=ESTIMATES,
        figures={ESTIMATE_ERROR: max(errors, default=1), "estimate_error_median": median(errors or [1])},
        findings=[] if len(errors) == ESTIMATED else [finding],
        says=f"of {len(errors)} accounts, half were at most {median(errors or [1]):.1%} off; {passed:,} were "
        f"admitted before, at {drop.rate_per_minute:,} a minute",
    )


# --- orders ---


def orders(stage: Stage) -> Measured:
    """Rounds of orders under admission between orders without, each round by other accounts."""
    a_round = min(ORDERS_A_ROUND, len(stage.staff.users) // stage.size.rounds)
    sale_id = create(stage, "at once", stage.product_ids[-2], opens_in=0, rate_per_minute=AT_ONCE)
    join(stage, sale_id, TOKENS=stage.staff.tokens_of(stage.size.rounds * a_round))
    wait_until(lambda: not stage.count(LEFT, sale_id), within_seconds=60)
    runs = list(order_rounds(stage, a_round))
    [measured] = [one for one in summed_up(runs) if one.row == ORDERS]
    succeeded = sum(run.figures.succeeded for run in runs if run.row == ORDERS)
    used = stage.count(USED, sale_id)
    if used == succeeded:
        return measured
    finding = f"{ORDERS}: {succeeded} orders were answered, and {used} entries are used"
    return replace(measured, findings=[*measured.findings, finding])


def order_rounds(stage: Stage, a_round: int) -> Iterator[Run]:
    """The orders under admission, with null before and after all of them."""
    product, plain = stage.product_ids[-2], stage.product_ids[0]
    yield loads.null(stage)
    for number in range(stage.size.rounds):
        users = stage.staff.users[number * a_round : (number + 1) * a_round]
        tokens = stage.staff.write_tokens("sale-order", [user["access"] for user in users])
        before = _order(stage, f"before-{number}", plain, tokens)
        under = _order(stage, f"under-{number}", product, tokens)
        after = _order(stage, f"after-{number}", plain, tokens)
        mean = beside_null.mean_of(before, after)
        of_plain = ratio(beside_null.processor(under), sum(mean.values()))
        findings = [finding for run in (before, under, after) for finding in run.findings]
        says = f"an order without a sale: {beside_null.written(mean)}"
        yield replace(under, others={OF_PLAIN_ORDER: of_plain}, findings=findings, says=says)
    yield loads.null(stage)


def _order(stage: Stage, name: str, product: int, tokens: Any) -> Run:
    """An order of one line of that product by each of these accounts."""
    settings = {"ORDER_LINES": 1, "PRODUCTS": stage.staff.write("sale-product", [product]), "TOKENS": tokens}
    before = stage.count(loads.ORDERS)
    figures = stage.run_k6("orders", seconds=JOINING_SECONDS, RUN=f"bench-{name}-{before}", **settings)
    return loads.checked(ORDERS, figures, stage.count(loads.ORDERS) - before)


# --- rows of the database ---


def _entries(stage: Stage, drop: Drop, *, from_position: int, number: int) -> list[tuple[str, int]]:
    """The ids and accounts of that many entries, from that position on."""
    found = database.rows(stage.instance, WAITING_FROM, drop.id, from_position, number)
    return [(str(entry), int(account)) for entry, account in found]


def _admitted_at(stage: Stage, drop: Drop) -> Mapping[str, float]:
    """When each entry was admitted, in seconds since the epoch."""
    found = database.rows(stage.instance, ADMITTED_AT, drop.id)
    return {str(entry): at.replace(tzinfo=UTC).timestamp() for entry, at in found}


def _tokens(stage: Stage, accounts: Sequence[int]) -> list[str]:
    access = {user["id"]: user["access"] for user in stage.staff.users}
    return [access[account] for account in accounts]


def _percentile_ms(ordered: Sequence[float], share: float) -> float:
    return 1000 * percentile(ordered, share)
