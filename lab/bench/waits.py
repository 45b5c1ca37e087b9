"""The row of buyers that wait for their payment: how many at once, the cost of each, and their answers.

The worker is stopped while a connection for each buyer sends an order with a card and `Prefer: wait`, so no
payment settles and all buyers wait. It goes on before the first has waited long enough to be answered 202.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from lab import load, stage as stages
from lab.bench import loads
from lab.bench.rows import Measured
from lab.load import Figures, ratio
from lab.stack import database
from lab.stage import Stage
from scripts.stack import process_identity, waiting

WAIT_SECONDS, SPREAD_SECONDS, PLACED_SECONDS = 30, 18, 21
"""How long a buyer waits; from the first order to the last, each with time to be placed; and until they are."""
VUS, WITHIN_SECONDS = 100, 150
IDLE_SECONDS, NULL_SECONDS, UNLEASED_SECONDS = 3, 2, 30
NULL_ACCOUNTS = 1_000
LEASED = (
    "SELECT COUNT(*) FROM orders_saga WHERE next_attempt_at IS NOT NULL AND leased_until > UTC_TIMESTAMP(6)"
)


def measure(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """All of it, until the last payment is settled. Every buyer is answered, and every placed order paid."""
    database.wait_until_worked_off(stage.instance)
    before_ms = _null_p95_ms(stage)
    [(since,)] = stage.rows(loads.NOW)
    figures, taken = _wait(stage, since)
    made = loads.settled(stage, since)
    alone_ms = (before_ms + _null_p95_ms(stage)) / 2
    yield Measured(
        row="waiting",
        figures={
            **taken,
            "of_null_alone": ratio(taken["null_p95_ms"], alone_ms),
            **figures.counts("answered_"),
        },
        findings=list(findings(figures, placed=made.placed, paid=made.paid)),
    )


def findings(figures: Figures, *, placed: float, paid: float) -> Iterator[str]:
    """The errors, however few wait at once."""
    answered = sum(figures.counts("answered_").values())
    if answered < figures.requests:
        yield f"waiting: {figures.requests - answered} of {figures.requests} were answered neither 201 nor 202"
    # A request without an answer may have placed its order all the same.
    if not answered <= placed <= figures.requests or paid != placed:
        yield f"waiting: {answered} orders were answered, {placed} are placed, and {paid} paid"


def _wait(stage: Stage, since: datetime) -> tuple[Figures, Mapping[str, float]]:
    """The answers, and what the waiting took above an idle shop."""
    instance, number = stage.instance, stage.size.connections
    web = stages.processes(instance, "web")
    idle_kib = _held_kib(web)
    own = {"VUS": VUS, "EACH": number // VUS, "SPREAD": SPREAD_SECONDS, "RUN": f"bench-{time.time_ns()}"}
    own |= {"TOKENS": stage.tokens_of(stage.users[:number], "waiting")}
    with ThreadPoolExecutor(1) as threads:
        with process_identity.frozen(process_identity.group_of(instance.run, "worker")):
            # Until no saga has a live lease payments are refused, as the worker seems too slow.
            waiting.left(lambda: stage.number(LEASED), within_seconds=UNLEASED_SECONDS)
            sending = threads.submit(
                load.run, "waiting", instance, within_seconds=WITHIN_SECONDS, **stage.files | own
            )
            waiting.left(lambda: not stage.number(loads.UNFINISHED, since), within_seconds=WAIT_SECONDS)
            missing = lambda: stage.number(loads.UNFINISHED, since) < number  # noqa: E731
            waiting.left(missing, within_seconds=PLACED_SECONDS)
            before, began_at = stages.spent(instance), time.monotonic()
            time.sleep(IDLE_SECONDS)
            after, seconds = stages.spent(instance), time.monotonic() - began_at
            held_kib, at_once = _held_kib(web) - idle_kib, stage.number(loads.UNFINISHED, since)
            null_p95_ms = _null_p95_ms(stage)
        figures = sending.result()
    cores = {f"{name}_cores": (after[name] - before[name]) / seconds for name in after}
    return figures, {
        "waiting": at_once,
        "waiting_kib": ratio(held_kib, at_once),
        "waiting_cores": sum(cores.values()),
        "null_p95_ms": null_p95_ms,
        **cores,
    }


def _held_kib(pids: set[int]) -> float:
    """The memory of these processes (PSS): a page that several of them hold counts once."""
    return sum(stages.kib(pids, "smaps_rollup", "Pss:"))


def _null_p95_ms(stage: Stage) -> float:
    """Of calls by few buyers, without waiting for the worker: how long another call takes while all those
    wait."""
    own = {"SECONDS": NULL_SECONDS, "VUS": 4, "AGAIN": 1}
    own |= {"TOKENS": stage.tokens_of(stage.users[:NULL_ACCOUNTS])}
    return load.run("null", stage.instance, within_seconds=60, **own).number("http_req_duration", "p(95)")
