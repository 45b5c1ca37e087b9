"""The row of buyers that wait for their payment: how many at once, the cost of each, and their answers.

The worker is stopped while a connection for each buyer sends an order with a card and `Prefer: wait`, so no
payment settles and all buyers wait. The worker goes on before the first of them has waited long enough to be
answered 202.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lab.bench import load, watching
from lab.bench.load import Measured, Run, ratio
from lab.bench.rows import NULL_WAITING, WAITING, WAITING_CORES, WAITING_KIB
from lab.bench.stage import Stage, wait_until
from lab.bench.workloads import connections, paying
from lab.bench.workloads.connections import Answers, Connection
from scripts.stack import database, process_identity

WAIT_SECONDS = 30
PLACING_SECONDS = 18
"""No order is sent later than this after the first."""
UNPLACED = 300
"""Orders under way at most that are not in the database yet."""
POLL_SECONDS = 0.02
IDLE_SECONDS = 3
"""Over which the processor time of waiting is measured."""
NULL = {"seconds": 2, "VUS": 4, "CAMPAIGN": 1, "AGAIN": 1}
NULL_ACCOUNTS = 1_000
ANSWER_SECONDS = WAIT_SECONDS + 15
UNLEASED_SECONDS = 30
LEASED = (
    "SELECT COUNT(*) FROM orders_saga WHERE next_attempt_at IS NOT NULL AND leased_until > UTC_TIMESTAMP(6)"
)


@dataclass(frozen=True, kw_only=True)
class Waited:
    """`at_once` buyers waited when `kib` of the web processes above their idle memory and `cores` of each
    process were measured; `null_p95_ms` of null calls beside them. `came` has an answer for each order that
    was sent."""

    at_once: int
    kib: float
    cores: Mapping[str, float]
    null_p95_ms: float
    came: Answers


def measure(stage: Stage) -> Run:
    """All of it, until the last payment is settled. Every buyer is answered, and every placed order paid."""
    number = connections.allowed(stage.size.waiting)
    requests = _requests(stage, number)
    database.wait_until_worked_off(stage.instance)
    alone_before_ms = _null_p95_ms(stage)
    began_at = database.rows(stage.instance, paying.NOW)[0][0]
    waited = asyncio.run(_wait(stage, requests, began_at))
    paying.wait_until_settled(stage, began_at)
    orders = paying.count_orders(stage, began_at)
    null_alone_ms = (alone_before_ms + _null_p95_ms(stage)) / 2
    microseconds = {name: 1e6 * ratio(used, waited.at_once) for name, used in waited.cores.items()}
    created, accepted = (waited.came.statuses.get(status, 0) for status in (201, 202))
    return Run(
        row=WAITING,
        figures=replace(connections.figures(waited.came, expected=(201, 202)), microseconds=microseconds),
        per="a second of waiting",
        findings=list(findings(waited, placed=orders.placed, paid=orders.paid)),
        others={
            WAITING: waited.at_once,
            WAITING_KIB: ratio(waited.kib, waited.at_once),
            WAITING_CORES: sum(waited.cores.values()),
            NULL_WAITING: ratio(waited.null_p95_ms, null_alone_ms),
            "answered_201": created,
            "answered_202": accepted,
        },
        says=f"{len(waited.came.answers):,} of {number:,} were sent: {created:,} x 201, {accepted:,} x 202",
    )


def row(run: Run) -> Measured:
    """The row of a run by itself; the time of answers is that of the worker's stop, and says nothing."""
    return Measured(row=WAITING, figures=run.others, findings=run.findings, says=run.says)


def findings(waited: Waited, *, placed: int, paid: int) -> Iterator[str]:
    """The errors, however few wait at once."""
    yield from connections.unexpected(waited.came, "waiting", expected=(201, 202))
    answered = sum(waited.came.statuses.get(status, 0) for status in (201, 202))
    # A request without an answer may have placed its order all the same.
    if not answered <= placed <= len(waited.came.answers) or paid != placed:
        yield f"waiting: {answered} orders were answered, {placed} are placed, and {paid} paid"


async def send_paced(
    port: int, requests: Sequence[bytes], count_placed: Callable[[], int]
) -> tuple[list[Connection], int]:
    """Send each request on a connection of its own, at most `UNPLACED` more than there are orders, and return
    once every order is placed or the time is over: the connections, and how many were not accepted.

    A connection is opened for its request at once: the server closes those without one.
    """
    ends_at = time.monotonic() + PLACING_SECONDS
    sent: list[Connection] = []
    begun = placed = 0
    while (begun < len(requests) or placed < len(sent)) and time.monotonic() < ends_at:
        placed = await asyncio.to_thread(count_placed)
        next_requests = requests[begun : placed + UNPLACED]
        opened = await connections.open_all(port, len(next_requests))
        await connections.send(opened, next_requests)
        begun += len(next_requests)
        sent += opened
        await asyncio.sleep(POLL_SECONDS)
    return sent, begun - len(sent)


async def _wait(stage: Stage, requests: Sequence[bytes], began_at: datetime) -> Waited:
    instance = stage.instance
    web = process_identity.group_of(instance.run, "web")
    idle_kib = watching.shared_out_kib(web)
    with watching.stopped_worker(instance):
        # Until no saga has a live lease payments are refused, as the worker seems too slow.
        await asyncio.to_thread(wait_until, lambda: not stage.count(LEASED), within_seconds=UNLEASED_SECONDS)
        sending_at = time.monotonic()
        sent, refused = await send_paced(
            instance.port, requests, lambda: paying.count_unfinished(stage, began_at)
        )
        before, measured_at = watching.spent(instance), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        after, seconds = watching.spent(instance), time.monotonic() - measured_at
        kib = watching.shared_out_kib(web) - idle_kib
        waiting = sum(not connection.answered.done() for connection in sent)
        placed = await asyncio.to_thread(paying.count_unfinished, stage, began_at)
        null_p95_ms = await asyncio.to_thread(_null_p95_ms, stage)
    answers = await connections.read_answers(sent, within_seconds=ANSWER_SECONDS)
    return Waited(
        at_once=min(waiting, placed),
        kib=kib,
        cores={name: (after[name] - before[name]) / seconds for name in after},
        null_p95_ms=null_p95_ms,
        came=Answers(refused=refused, answers=answers, seconds=time.monotonic() - sending_at),
    )


def _requests(stage: Stage, number: int) -> list[bytes]:
    run, products = time.time_ns(), stage.product_ids
    made = []
    for index, user in enumerate(stage.staff.users[:number]):
        items = [{"product": products[index % len(products)], "quantity": 1}]
        body = json.dumps({"items": items, "payment": {"token": "tok_ok"}})
        headers = {"Idempotency-Key": f"bench-waiting-{run}-{index}", "Prefer": f"wait={WAIT_SECONDS}"}
        made.append(connections.request("/api/v1/orders", body, access=user["access"], headers=headers))
    return made


def _null_p95_ms(stage: Stage) -> float:
    """Of calls by few buyers: how long another call takes while all those wait."""
    tokens = stage.staff.tokens_of(NULL_ACCOUNTS)
    return load.run("null", instance=stage.instance, TOKENS=tokens, **NULL).p95_ms
