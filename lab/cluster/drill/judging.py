"""What one fault cost, and whether that is what the cluster promises."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lab.chaos.calls import LATEST_SECONDS, Answer, Call, Observations
from lab.cluster.drill.plan import Fault

REFUSED = "no connection"
NO_ANSWER = f"no answer in {LATEST_SECONDS} s"
HUNG_UP = "client hung up"
"""The client itself didn't wait, which some do so that a call runs beside its repeat."""


def status_word(answer: Answer) -> str:
    """The status as the table has it; a 503 says whether it names a time to come again."""
    is_bare = answer.status == 503 and answer.retry_after is None
    return f"{answer.status} without Retry-After" if is_bare else str(answer.status)


def is_allowed(word: str) -> bool:
    """Whether a client of a cluster may get that: done, refused with a reason, or asked to come again."""
    return word == HUNG_UP or word == "503" or (len(word) == 3 and word[0] in "24")


class Statuses(Observations):
    """What clients saw beside one fault, by `status_word`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = Counter[str]()

    def record_answer(self, call: Call, answer: Answer, seconds: float) -> None:
        super().record_answer(call, answer, seconds)
        self._add(status_word(answer))

    def record_no_answer(self, call: Call, seconds: float, error: Exception) -> None:
        super().record_no_answer(call, seconds, error)
        if "timed out" not in str(error):
            self._add(REFUSED)
        else:
            self._add(HUNG_UP if seconds < LATEST_SECONDS else NO_ANSWER)

    def _add(self, word: str) -> None:
        with self.mutex:
            self.words[word] += 1


@dataclass(frozen=True)
class Outcome:
    """One fault with all that was measured of it."""

    fault: Fault
    target: str
    """What it happened to: `mysql-2`."""
    outage_seconds: float
    """The longest time without an acknowledged write, from the fault on."""
    whole_seconds: float | None
    """Until no part was missing any more; None when that was not seen."""
    statuses: Counter[str]
    load_average: float
    """Of the machine's last minute, when the fault was over: what else ran beside it."""
    slowest_seconds: float
    acknowledged: int
    lost: Sequence[str] = ()
    doubled: Sequence[str] = ()
    findings: Sequence[str] = field(default_factory=tuple)
    """Broken laws, calls without a final answer, and the like."""

    def failures(self) -> Iterator[str]:
        """What did not hold."""
        if self.outage_seconds > self.fault.most_outage_seconds:
            yield (
                f"writes were acknowledged again after {self.outage_seconds:.1f} s, "
                f"not within {self.fault.most_outage_seconds:.1f} s"
            )
        for word, count in self.statuses.items():
            is_known = word == REFUSED and self.fault.may_refuse_connections
            if not is_allowed(word) and not is_known:
                yield f"{count} x {word}"
        if self.acknowledged == 0:
            yield "no write was acknowledged, so none was checked"
        yield from (f"lost: {one}" for one in self.lost)
        yield from (f"doubled: {one}" for one in self.doubled)
        yield from self.findings


def longest_gap(moments: Sequence[float], *, since: float, until: float) -> float:
    """The longest time without one of the moments between `since` and `until`."""
    inside = sorted(moment for moment in moments if since <= moment <= until)
    return max(later - earlier for earlier, later in pairwise([since, *inside, until]))
