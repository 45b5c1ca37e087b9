"""Steps of sagas by outcome, and how long they took: metrics of this process."""

from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import AbstractContextManager

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
        STEPS.labels(*labels).inc(number)


def measured(step: str) -> AbstractContextManager[object]:
    """Measure the block as one execution of the step, also if it raises."""
    return SECONDS.labels(step).time()
