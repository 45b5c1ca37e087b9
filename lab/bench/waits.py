"""The row of buyers that wait for their payment: how many at once, the cost of each, and their answers.

The worker is stopped while a connection for each buyer sends an order with a card and `Prefer: wait`, so no
payment settles and all buyers wait. It goes on before the first has waited long enough to be answered 202.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from lab import load, stage as stages
from lab.bench import loads
from lab.bench.rows import Measured
from lab.load import Figures, ratio
from lab.stack import database
from lab.stage import Stage
from scripts.stack import process_identity, waiting

WAIT_SECONDS, SPREAD_SECONDS, PLACED_SECONDS = 30, 18, 21
"""Of a buyer; from the first order to the last; and until all are placed, or fewer are measured."""
VUS, WITHIN_SECONDS, UNLEASED_SECONDS, IDLE_SECONDS, NULL_SECONDS = 100, 150, 30, 3, 2
LEASED = (
    "SELECT COUNT(*) FROM orders_saga WHERE next_attempt_at IS NOT NULL AND leased_until > UTC_TIMESTAMP(6)"
)


def measure(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """All of it, until the last payment is settled, and what the waiting took above an idle shop."""
    instance, number = stage.instance, stage.size.connections
    web, tokens = stages.processes(instance, "web"), stage.tokens_of(stage.users[:number], "waiting")
    own = {"VUS": VUS, "EACH": number // VUS, "SPREAD": SPREAD_SECONDS, "RUN": f"bench-{time.time_ns()}"}
    settings = {**stage.files, **own, "TOKENS": tokens}
    database.wait_until_worked_off(instance)
    alone_ms, idle_kib, [(since,)] = _null_p95_ms(stage, tokens), _held_kib(web), stage.rows(loads.NOW)
    open_orders = partial(stage.number, loads.UNFINISHED, since)
    with ThreadPoolExecutor(1) as threads:
        with process_identity.frozen(process_identity.group_of(instance.run, "worker")):
            # Until no saga has a live lease payments are refused, as the worker seems too slow.
            waiting.left(partial(stage.number, LEASED), within_seconds=UNLEASED_SECONDS)
            sent = threads.submit(load.run, "waiting", instance, within_seconds=WITHIN_SECONDS, **settings)
            waiting.left(lambda: not open_orders(), within_seconds=WAIT_SECONDS)
            waiting.left(lambda: open_orders() < number, within_seconds=PLACED_SECONDS)
            before, began_at = stages.spent(instance), time.monotonic()
            time.sleep(IDLE_SECONDS)
            after, seconds = stages.spent(instance), time.monotonic() - began_at
            held_kib, at_once = _held_kib(web) - idle_kib, open_orders()
            beside_ms = _null_p95_ms(stage, tokens)
        figures = sent.result()
    made = loads.settled(stage, since)
    cores = {f"{name}_cores": (after[name] - before[name]) / seconds for name in after}
    taken = {
        "waiting": at_once,
        "waiting_kib": ratio(held_kib, at_once),
        "waiting_cores": sum(cores.values()),
        "of_null_alone": ratio(2 * beside_ms, alone_ms + _null_p95_ms(stage, tokens)),
    }
    taken |= cores | figures.counts("answered_")
    yield Measured(row="waiting", figures=taken, findings=list(findings(figures, made)))


def findings(figures: Figures, made: Mapping[str, float]) -> Iterator[str]:
    """The errors, however few wait at once."""
    answered, most = sum(figures.counts("answered_").values()), figures.requests
    if answered < most:
        yield f"waiting: {most - answered} of {most} were answered neither 201 nor 202"
    yield from loads.wrong_orders("waiting", made, answered=answered, most=most, pays=True)


def _held_kib(pids: set[int]) -> float:
    """The memory of these processes (PSS): a page that several of them hold counts once."""
    return sum(stages.kib(pids, "smaps_rollup", "Pss:"))


def _null_p95_ms(stage: Stage, tokens: object) -> float:
    """Of calls by few buyers, without waiting for the worker: how long another call takes while all those
    wait."""
    own = {"SECONDS": NULL_SECONDS, "VUS": 4, "AGAIN": 1, "TOKENS": tokens}
    return load.run("null", stage.instance, within_seconds=60, **own).number("http_req_duration", "p(95)")
