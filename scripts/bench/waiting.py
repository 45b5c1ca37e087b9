"""The row of buyers who wait for their payment: how many at once, what each costs, and what becomes of them.

The worker is stopped while a connection for each buyer sends an order with a card and `Prefer: wait`, so no
payment settles and all buyers wait. The worker goes on before the first of them has waited long enough to be
answered 202.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scripts.bench import connections, load, paying, watching
from scripts.bench.connections import Answer, Caller, Told
from scripts.bench.load import Measured, Run, ratio
from scripts.bench.rows import NULL_WAITING, WAITING, WAITING_CORES, WAITING_KIB
from scripts.bench.stage import Stage
from scripts.stack import database, process_identity
from scripts.stack.instance import Instance

WAIT_SECONDS = 30
PLACING_SECONDS = 18
"""No order is sent later than this after the first."""
UNPLACED = 300
"""Orders under way at most that are not in the database yet."""
POLL_SECONDS = 0.02
IDLE_SECONDS = 3
"""Over which the processor time of waiting is measured."""
NULL_SECONDS, NULL_VUS, NULL_ACCOUNTS = 2, 4, 1_000
ANSWER_SECONDS = WAIT_SECONDS + 15
UNLEASED_SECONDS = 30
LEASED = (
    "SELECT COUNT(*) FROM orders_saga WHERE next_attempt_at IS NOT NULL AND leased_until > UTC_TIMESTAMP(6)"
)


@dataclass(frozen=True, kw_only=True)
class Waited:
    """`at_once` buyers waited when `kib` of the web processes above their idle memory and `cores` of each
    process were measured; `null_p95_ms` of null calls beside them. `answers` has one for each order that was
    sent."""

    at_once: int
    kib: float
    cores: Mapping[str, float]
    null_p95_ms: float
    answers: Sequence[Answer]
    refused: int
    seconds: float


def measure(stage: Stage) -> Run:
    """All of it, until the last payment is settled. No buyer may be left without an answer, and every order
    that was placed is paid."""
    number = connections.allowed(stage.size.waiting)
    requests = _requests(stage, number)
    database.wait_until_worked_off(stage.instance)
    alone_before_ms = _null_p95_ms(stage)
    began_at = database.rows(stage.instance, paying.NOW)[0][0]
    waited = asyncio.run(_wait(stage, requests, began_at))
    paying.wait_until_settled(stage, began_at)
    orders = paying.count_orders(stage, began_at)
    null_alone_ms = (alone_before_ms + _null_p95_ms(stage)) / 2
    statuses = Counter(answer.status for answer in waited.answers)
    told = Told(refused=waited.refused, answers=waited.answers, seconds=waited.seconds)
    return Run(
        row=WAITING,
        figures=replace(
            connections.figures(told, expected=(201, 202)),
            microseconds={name: 1e6 * ratio(used, waited.at_once) for name, used in waited.cores.items()},
        ),
        per="a second of waiting",
        findings=list(findings(waited, placed=orders.placed, paid=orders.paid)),
        others={
            WAITING: waited.at_once,
            WAITING_KIB: ratio(waited.kib, waited.at_once),
            WAITING_CORES: sum(waited.cores.values()),
            NULL_WAITING: ratio(waited.null_p95_ms, null_alone_ms),
            "answered_201": statuses[201],
            "answered_202": statuses[202],
        },
        says=f"{len(waited.answers):,} of {number:,} were sent: {statuses[201]:,} x 201, "
        f"{statuses[202]:,} x 202",
    )


def row(run: Run) -> Measured:
    """The row of a run by itself; how long answers took is the worker's stop, and says nothing."""
    return Measured(row=WAITING, figures=run.others, findings=run.findings, says=run.says)


def findings(waited: Waited, *, placed: int, paid: int) -> Iterator[str]:
    """What must not be, however few wait at once."""
    others = Counter(answer.status for answer in waited.answers if answer.status not in (201, 202))
    if waited.refused:
        yield f"waiting: {waited.refused} connections were refused"
    if lost := others.pop(0, 0):
        yield f"waiting: {lost} buyers were left without an answer"
    if others:
        counts = ", ".join(f"{count} x {status}" for status, count in sorted(others.items()))
        yield f"waiting: answers other than 201 and 202: {counts}"
    answered = sum(answer.status in (201, 202) for answer in waited.answers)
    # A request without an answer may have placed its order all the same.
    if not answered <= placed <= len(waited.answers) or paid != placed:
        yield f"waiting: {answered} orders were answered, {placed} are placed, and {paid} paid"


async def send_paced(
    port: int,
    requests: Sequence[bytes],
    count_placed: Callable[[], int],
    *,
    within_seconds: float = PLACING_SECONDS,
) -> tuple[list[Caller], int]:
    """Send each request on a connection of its own, at most `UNPLACED` more than there are orders, and return
    once every order is placed or the time is over: those that were sent, and how many were not accepted.

    A connection is opened for its request at once: the server closes those without one.
    """
    ends_at = time.monotonic() + within_seconds
    callers: list[Caller] = []
    begun = placed = 0
    while (begun < len(requests) or placed < len(callers)) and time.monotonic() < ends_at:
        placed = await asyncio.to_thread(count_placed)
        next_requests = requests[begun : placed + UNPLACED]
        opened = await connections.open_all(port, len(next_requests))
        for caller, request in zip(opened, next_requests, strict=False):
            caller.ask(request)
            await asyncio.sleep(0)  # so that answers are seen when they come
        begun += len(next_requests)
        callers += opened
        await asyncio.sleep(POLL_SECONDS)
    return callers, begun - len(callers)


async def _wait(stage: Stage, requests: Sequence[bytes], began_at: datetime) -> Waited:
    instance = stage.instance
    web = process_identity.group_of(instance.run, "web")
    idle_kib = watching.shared_out_kib(web)
    with watching.stopped_worker(instance):
        await asyncio.to_thread(_wait_until_unleased, instance)
        sending_at = time.monotonic()
        callers, refused = await send_paced(
            instance.port, requests, lambda: paying.count_unfinished(stage, began_at)
        )
        before, measured_at = watching.spent(instance), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        after, seconds = watching.spent(instance), time.monotonic() - measured_at
        kib = watching.shared_out_kib(web) - idle_kib
        waiting = sum(not caller.answered.done() for caller in callers)
        placed = await asyncio.to_thread(paying.count_unfinished, stage, began_at)
        null_p95_ms = await asyncio.to_thread(_null_p95_ms, stage)
    answers = await connections.read_answers(callers, within_seconds=ANSWER_SECONDS)
    return Waited(
        at_once=min(waiting, placed),
        kib=kib,
        cores={name: (after[name] - before[name]) / seconds for name in after},
        null_p95_ms=null_p95_ms,
        answers=answers,
        refused=refused,
        seconds=time.monotonic() - sending_at,
    )


def _requests(stage: Stage, number: int) -> list[bytes]:
    run, products = time.time_ns(), stage.product_ids
    return [
        connections.request(
            "/api/v1/orders",
            json.dumps(
                {
                    "items": [{"product": products[index % len(products)], "quantity": 1}],
                    "payment": {"token": "tok_ok"},
                }
            ),
            access=user["access"],
            headers={"Idempotency-Key": f"bench-waiting-{run}-{index}", "Prefer": f"wait={WAIT_SECONDS}"},
        )
        for index, user in enumerate(stage.staff.users[:number])
    ]


def _null_p95_ms(stage: Stage) -> float:
    """Of calls by few buyers: what another call waits while all those wait."""
    figures = load.run(
        "null",
        instance=stage.instance,
        seconds=NULL_SECONDS,
        VUS=NULL_VUS,
        TOKENS=stage.staff.tokens_of(NULL_ACCOUNTS),
        CAMPAIGN=1,
        AGAIN=1,
    )
    return figures.p95_ms


def _wait_until_unleased(instance: Instance) -> None:
    """Return when no saga has a live lease: until then payments are refused that a worker is too slow for."""
    ends_at = time.monotonic() + UNLEASED_SECONDS
    while database.rows(instance, LEASED)[0][0] and time.monotonic() < ends_at:
        time.sleep(0.2)
