"""What log lines, traces and metrics show of sagas: their ids, spans for batches, steps and calls, outcomes.

A saga belongs to the trace of the request that started it, if that is recorded.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from prometheus_client import Counter, Histogram
from structlog import get_logger

from orders.saga.definitions import SagaRow, SagaRun, call_name
from shop.observability import logs, tracing

logger = get_logger(__name__)
STEPS = Counter(
    "firstcome_saga_steps",
    "Lines of sagas' logs: final results of steps, and attempts that were not final.",
    ["saga", "step", "direction", "outcome"],
)
SECONDS = Histogram(
    "firstcome_saga_step_seconds",
    "Executions of a step, in seconds: a call outside, or the statements for all sagas of a batch.",
    ["step"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def ids_of(saga: SagaRow) -> dict[str, Any]:
    ids: dict[str, Any] = {"saga": str(saga.id)}
    if saga.about_id:
        ids["order"] = str(saga.about_id)
    if saga.request_id:
        ids["request_id"] = saga.request_id
    # The locked order, payment or refund; the last has no account.
    account_id = getattr(saga.parent, "account_id", None)
    return ids | {"account": account_id} if account_id else ids


@contextmanager
def observe_runs(name: str, runs: Sequence[SagaRun]) -> Iterator[None]:
    """Wrap work for these runs: its log lines have their ids, its span is a part of their traces."""

    def read_ids() -> dict[str, Any]:
        return logs.merge_ids([ids_of(run.saga) for run in runs])

    attributes = tracing.attributes(read_ids()) if tracing.is_on else None
    with logs.bound_to(read_ids), tracing.shared(name, [run.saga.traceparent for run in runs], attributes):
        yield


@contextmanager
def observe_step(name: str, direction: str) -> Iterator[None]:
    """Wrap the execution of a local step in a batch: its span, and its time."""
    with tracing.span(f"saga step {call_name(name, direction)}"), SECONDS.labels(name).time():
        yield


def log_ended(sagas: Iterable[SagaRow]) -> None:
    """Log a line for each of these sagas, which have ended; to be called once that is committed."""
    for saga in sagas:
        reason = {"failure_code": saga.failure_code} if saga.failure_code else {}
        with logs.bound_to(partial(ids_of, saga)):
            logger.info("saga ended", kind=saga.kind, state=saga.state, **reason)


def count_steps(results: Sequence[tuple[str, str, str, str]]) -> None:
    for labels, number in Tally(results).items():
        STEPS.labels(*labels).inc(number)
