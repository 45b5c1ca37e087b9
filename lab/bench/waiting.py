"""The row of buyers that wait for their payment: how many at once, the cost of each, and their answers.

The worker is stopped while a connection for each buyer sends an order with a card and `Prefer: wait`, so no
payment settles and all buyers wait. It goes on before the first has waited long enough to be answered 202.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from lab import load, stage as stages
from lab.bench import connections, loads
from lab.bench.connections import Answer
from lab.bench.rows import Measured
from lab.bench.stage import Stage
from lab.load import ratio
from lab.stack import database
from lab.stage import wait_until
from scripts.stack import process_identity

WAIT_SECONDS = 30
PLACING_SECONDS = 18
"""No order is sent later than this after the first."""
UNPLACED = 300
"""Orders under way at most that are not in the database yet."""
POLL_SECONDS, IDLE_SECONDS, UNLEASED_SECONDS = 0.02, 3, 30
ANSWER_SECONDS = WAIT_SECONDS + PLACING_SECONDS + 15
NULL_ACCOUNTS = 1_000
LEASED = (
    "SELECT COUNT(*) FROM orders_saga WHERE next_attempt_at IS NOT NULL AND leased_until > UTC_TIMESTAMP(6)"
)


def measure(stage: Stage) -> Measured:
    """All of it, until the last payment is settled. Every buyer is answered, and every placed order paid."""
    number = stage.size.connections
    connections.allow_files(number)
    database.wait_until_worked_off(stage.instance)
    before_ms = _null_p95_ms(stage)
    [(since,)] = stage.rows(loads.NOW)
    answers, figures = asyncio.run(_wait(stage, _requests(stage, number), since))
    made = loads.settled(stage, since)
    alone_ms = (before_ms + _null_p95_ms(stage)) / 2
    counts = {f"answered_{status}": sum(one.status == status for one in answers) for status in (201, 202)}
    figures["of_null_alone"] = ratio(figures.pop("null_p95_ms"), alone_ms)
    return Measured(
        row="waiting",
        figures=figures | counts,
        findings=list(findings(answers, placed=made.placed, paid=made.paid)),
        says=f"{len(answers):,} of {number:,} were sent",
    )


def findings(answers: Sequence[Answer], *, placed: int, paid: int) -> Iterator[str]:
    """The errors, however few wait at once."""
    yield from connections.unexpected("waiting", answers, {201, 202})
    answered = sum(one.status in (201, 202) for one in answers)
    # A request without an answer may have placed its order all the same.
    if not answered <= placed <= len(answers) or paid != placed:
        yield f"waiting: {answered} orders were answered, {placed} are placed, and {paid} paid"


async def _wait(
    stage: Stage, requests: Sequence[bytes], since: datetime
) -> tuple[list[Answer], dict[str, Any]]:
    """The answers, and what the waiting took above an idle shop."""
    instance, in_thread = stage.instance, asyncio.to_thread
    web = stages.processes(instance, "web")
    idle_kib = _held_kib(web)
    with process_identity.frozen(process_identity.group_of(instance.run, "worker")):
        # Until no saga has a live lease payments are refused, as the worker seems too slow.
        await in_thread(wait_until, lambda: not stage.number(LEASED), within_seconds=UNLEASED_SECONDS)
        sent = await _send_paced(stage, requests, since)
        before, began_at = stages.spent(instance), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        after, seconds = stages.spent(instance), time.monotonic() - began_at
        held_kib = _held_kib(web) - idle_kib
        unanswered = sum(not one.done() for one in sent)
        at_once = min(unanswered, await in_thread(stage.number, loads.UNFINISHED, since))
        null_p95_ms = await in_thread(_null_p95_ms, stage)
    cores = {f"{name}_cores": (after[name] - before[name]) / seconds for name in after}
    figures = {
        "waiting": at_once,
        "waiting_kib": ratio(held_kib, at_once),
        "waiting_cores": sum(cores.values()),
        "null_p95_ms": null_p95_ms,
        **cores,
    }
    return await asyncio.gather(*sent), figures


async def _send_paced(
    stage: Stage, requests: Sequence[bytes], since: datetime
) -> list["asyncio.Future[Answer]"]:
    """Send each request on a connection of its own, at most `UNPLACED` more than there are orders, and return
    once every order is placed or the time is over.

    A connection is opened for its request at once: the server closes those without one.
    """
    ends_at, placed = time.monotonic() + PLACING_SECONDS, 0
    sent: list[asyncio.Future[Answer]] = []
    while (len(sent) < len(requests) or placed < len(sent)) and time.monotonic() < ends_at:
        placed = await asyncio.to_thread(stage.number, loads.UNFINISHED, since)
        more = requests[len(sent) : placed + UNPLACED]
        opened = await connections.open_all(stage.instance.port, len(more))
        sent += [
            asyncio.ensure_future(connections.ask(one, content, ANSWER_SECONDS))
            for one, content in zip(opened, more, strict=True)
        ]
        await asyncio.sleep(POLL_SECONDS)
    return sent


def _held_kib(pids: set[int]) -> float:
    """The memory of these processes (PSS): a page that several of them hold counts once."""
    return sum(stages.kib(pids, "smaps_rollup", "Pss:"))


def _requests(stage: Stage, number: int) -> list[bytes]:
    run, products = time.time_ns(), stage.product_ids
    made = []
    for index, user in enumerate(stage.users[:number]):
        items = [{"product": products[index % len(products)], "quantity": 1}]
        body = json.dumps({"items": items, "payment": {"token": "tok_ok"}})
        headers = {"Idempotency_Key": f"bench-waiting-{run}-{index}", "Prefer": f"wait={WAIT_SECONDS}"}
        made.append(connections.request("/api/v1/orders", body, access=user["access"], **headers))
    return made


def _null_p95_ms(stage: Stage) -> float:
    """Of calls by few buyers, without waiting for the worker: how long another call takes while all those
    wait."""
    settings = {"SECONDS": 2, "VUS": 4, "CAMPAIGN": 1, "AGAIN": 1}
    tokens = stage.tokens_of(stage.users[:NULL_ACCOUNTS])
    figures = load.run("null", stage.instance, within_seconds=60, TOKENS=tokens, **settings)
    return figures.ms("http_req_duration", "p(95)")
