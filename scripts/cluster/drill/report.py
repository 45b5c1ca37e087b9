"""The drill's table, as Markdown."""

from collections import Counter
from collections.abc import Sequence

from scripts.cluster.drill.judging import Outcome

HEAD = (
    "| fault | acknowledged writes again after | whole again after | statuses | lost | doubled "
    "| load average |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each fault, in their order."""
    return "\n".join([HEAD, *(row(outcome) for outcome in outcomes)])


def row(outcome: Outcome) -> str:
    """One line of the table; what broke a promise is named below it, by `failures`."""
    whole = "not seen" if outcome.whole_seconds is None else f"{outcome.whole_seconds:.1f} s"
    cells = [
        description(outcome),
        f"{outcome.outage_seconds:.1f} s",
        whole,
        statuses(outcome.statuses),
        f"{len(outcome.lost)} of {outcome.acknowledged}",
        str(len(outcome.doubled)),
        f"{outcome.load_average:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def description(outcome: Outcome) -> str:
    """The fault, what it happened to, and for how long."""
    name = outcome.fault.name.replace("-", " ")
    lasts = f", {outcome.fault.seconds:.0f} s" if outcome.fault.seconds else ""
    return f"{name} ({outcome.target}{lasts})" if outcome.target else f"{name}{lasts}"


def statuses(words: Counter[str]) -> str:
    """How many answers of each status, in their order."""
    return ", ".join(f"{count} x {word}" for word, count in sorted(words.items())) or "none"


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What did not hold, each with its fault."""
    return [f"{description(one)}: {failure}" for one in outcomes for failure in one.failures()]
