"""Loads between null calls: the processor time and statements of a request beside those of a null call."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from lab.bench.load import Run, ratio
from lab.bench.rows import OF_NULL_PROCESSOR, STATEMENTS
from lab.bench.stage import Stage
from scripts.stack import database

QUESTIONS = "SHOW GLOBAL STATUS WHERE Variable_name = 'Questions'"
SERVING = ("web", "mariadb", "redis")


def rounds(stage: Stage, load: Callable[[], Run], null: Callable[[], Run]) -> Iterator[Run]:
    """The load in each round, with null before and after it: figures as ratios and counts a request."""
    before, _ = _with_statements(stage, null)
    yield before
    for _ in range(stage.size.rounds):
        run, statements = _with_statements(stage, load)
        # The rest of the shop sends as many a second beside null calls, which send none.
        after, without = _with_statements(stage, null)
        of_load = max(0.0, (statements - without) * run.figures.seconds)
        mean = mean_of(before, after)
        others = {
            OF_NULL_PROCESSOR: ratio(processor(run), sum(mean.values())),
            STATEMENTS: ratio(of_load, run.figures.requests),
        }
        yield replace(run, others=others, says=f"a null call: {written(mean)}")
        yield after
        before = after


def mean_of(one: Run, other: Run) -> dict[str, float]:
    """Microseconds a request of two runs, by the processes that answer it."""
    return {name: (one.figures.microseconds[name] + other.figures.microseconds[name]) / 2 for name in SERVING}


def written(microseconds: Mapping[str, float]) -> str:
    """Such microseconds in words."""
    return ", ".join(f"{number:.0f} in {name}" for name, number in microseconds.items()) + " (first round)"


def processor(run: Run) -> float:
    """Microseconds a request of the processes that answer it."""
    return sum(number for name, number in run.figures.microseconds.items() if name in SERVING)


def _with_statements(stage: Stage, load: Callable[[], Run]) -> tuple[Run, float]:
    """The run, and the statements a second that the database was sent meanwhile."""
    before, began_at = _questions(stage), time.monotonic()
    run = load()
    return run, (_questions(stage) - before) / (time.monotonic() - began_at)


def _questions(stage: Stage) -> int:
    [(_, count)] = database.rows(stage.instance, QUESTIONS)
    return int(count)
