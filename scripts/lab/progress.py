"""How far the lab is: two bars on a terminal, a line a case in a log."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scripts.lab.scenarios import Case

PER_CASE_SECONDS, STACK_SECONDS = 4, 20
"""For a campaign, k6's start and the reckoning; for a restart with other settings, and an audit."""
Tick = Callable[[], object]
Begin = Callable[[Case], Tick]


def estimate_seconds(cases: Sequence[Case]) -> int:
    """How long it will take at about, seeding left out."""
    restarts = 1 + len({tuple(case.settings.items()) for case in cases})
    return sum(expected_seconds(case) for case in cases) + restarts * STACK_SECONDS


def expected_seconds(case: Case) -> int:
    return case.load.seconds + PER_CASE_SECONDS + case.load.accounts // 700 * (case.scenario.sort == "orders")


@contextmanager
def shown(cases: Sequence[Case], console: Console) -> Iterator[Begin]:
    """Yields what to call when a case begins; that gives what to call while it runs."""
    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        whole = bars.add_task("the lab", total=sum(expected_seconds(case) for case in cases))
        current = bars.add_task("", total=1)
        done = 0

        def begin(case: Case) -> Tick:
            nonlocal done
            before, started, expected = done, time.monotonic(), expected_seconds(case)
            done += expected
            bars.reset(current, description=case.name, total=expected)

            def tick() -> None:
                so_far = min(time.monotonic() - started, expected)
                bars.update(current, completed=so_far)
                bars.update(whole, completed=before + so_far)

            return tick

        yield begin
        bars.update(whole, completed=done)
