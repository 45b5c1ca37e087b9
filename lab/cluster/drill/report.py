"""The drill's table, as Markdown."""

import os
import time
from collections import Counter
from collections.abc import Sequence

from lab.cluster.drill.judging import Outcome

HEAD = (
    "| fault | acknowledged writes again after | whole again after | statuses | lost | doubled "
    "| load average |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each fault, in the order of their first times; with the longest times of a repeated one."""
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.fault.name, []).append(outcome)
    return "\n".join([HEAD, *(row(*repeated) for repeated in by_name.values())])


def row(*repeated: Outcome) -> str:
    """One line of the table, of the outcomes of one fault; what broke a promise is named by `failures`."""
    known = [outcome.whole_seconds for outcome in repeated if outcome.whole_seconds is not None]
    whole = "not seen" if len(known) < len(repeated) else f"{max(known):.1f} s"
    first, times = repeated[0], len(repeated)
    lost, acknowledged = sum(len(one.lost) for one in repeated), sum(one.acknowledged for one in repeated)
    cells = [
        f"{_name(first)}, {times} times" if times > 1 else description(first),
        f"{max(outcome.outage_seconds for outcome in repeated):.1f} s",
        whole,
        statuses(sum((outcome.statuses for outcome in repeated), Counter())),
        f"{lost} of {acknowledged}",
        str(sum(len(outcome.doubled) for outcome in repeated)),
        f"{max(outcome.load_average for outcome in repeated):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def description(outcome: Outcome) -> str:
    """The fault, what it happened to, and for how long."""
    lasts = f", {outcome.fault.seconds:.0f} s" if outcome.fault.seconds else ""
    return f"{_name(outcome)} ({outcome.target}{lasts})" if outcome.target else f"{_name(outcome)}{lasts}"


def _name(outcome: Outcome) -> str:
    return outcome.fault.name.replace("-", " ")


def statuses(words: Counter[str]) -> str:
    """How many answers of each status, in their order."""
    return ", ".join(f"{count} x {word}" for word, count in sorted(words.items())) or "none"


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What did not hold, each with its fault."""
    return [f"{description(one)}: {failure}" for one in outcomes for failure in one.failures()]


def machine() -> str:
    """What the figures depend on."""
    return f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load average {os.getloadavg()[1]:.0f}"
