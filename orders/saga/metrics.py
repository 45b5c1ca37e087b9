"""Steps of sagas by outcome, and how long they took: metrics of this process."""

import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from prometheus_client import Counter, Histogram

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


def count_steps(results: Sequence[tuple[str, str, str, str]]) -> None:
    """Count these results by saga type, step, direction and outcome; called after the commit."""
    for labels, number in Tally(results).items():
        _steps_counter(*labels).inc(number)


@contextmanager
def measured(step: str) -> Iterator[None]:
    """Measure the block as one execution of the step, also if it raises."""
    began_at = time.perf_counter()
    try:
        yield
    finally:
        _histogram(step).observe(time.perf_counter() - began_at)


@lru_cache
def _steps_counter(saga: str, step: str, direction: str, outcome: str) -> Counter:
    return STEPS.labels(saga, step, direction, outcome)


@lru_cache
def _histogram(step: str) -> Histogram:
    return SECONDS.labels(step)
