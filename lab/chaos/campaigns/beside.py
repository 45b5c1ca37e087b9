"""What a campaign has beside its faults: settings of its stack, what runs with it, and checks of its own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from lab.chaos.calls import Observations
from lab.chaos.faults import Fault
from lab.chaos.memory import Setup
from lab.chaos.shop import Shop
from scripts.stack.instance import Instance


@dataclass(frozen=True)
class Beside:
    """`settings` are the stack's, and `around` runs from its start to its end.

    `load` makes the faults and the load in the usual one's place, and returns the longest recovery.
    `findings` checks what is the campaign's alone, once all is settled. With a planted defect
    `finds_planted` says whether it was found; None where a lost or doubled effect is what finds it.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    load: Callable[[Sequence[Fault], Setup, Shop, Observations], float] | None = None
    findings: Callable[[], Iterable[str]] = tuple
    finds_planted: Callable[[Setup, Shop], bool] | None = None


@dataclass(frozen=True)
class Run:
    """What was asked for."""

    seed: str
    is_quick: bool
    is_planted: bool


MakeBeside = Callable[[Instance, Run], AbstractContextManager[Beside]]


@contextmanager
def nothing(instance: Instance, run: Run) -> Iterator[Beside]:
    """Of a campaign that has nothing beside its faults."""
    yield Beside()
