"""What each fault cost, whether that is what the cluster promises, and its line of the table."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.chaos.calls import Answer, Call, Observations
from lab.cluster.drill.faults import Fault

REFUSED = "no connection"
HEAD = """\
| fault | acknowledged writes again after | whole again after | statuses | lost | doubled | load average |
| --- | --- | --- | --- | --- | --- | --- |"""


class Seen(Observations):
    """What clients saw beside one fault. Connections that were refused or broken are counted by themselves: a
    client also gives up some, so that a call runs beside its repeat. The load asks for no 400."""

    def record_answer(self, call: Call, answer: Answer, seconds: float) -> None:
        super().record_answer(call, answer, seconds)
        if answer.status == 400:
            self.record_finding(f"{call.method} {call.path} answered {answer.word} to {call.body}")

    def record_no_answer(self, call: Call, seconds: float, error: Exception) -> None:
        super().record_no_answer(call, seconds, error)
        if "timed out" not in str(error):
            self.count(REFUSED, seconds)

    @property
    def words(self) -> Counter[str]:
        """How many answers of each status; a hang, and a 503 without a time to come again, are findings."""
        found = Counter[str]()
        for word, count in self.statuses.items():
            found[word.partition(" ")[0] if word[0].isdigit() else word] += count
        return found


@dataclass(kw_only=True)
class Outcome:
    """One fault with all that was measured of it. What clients saw has the broken laws and the like, too."""

    fault: Fault
    seen: Seen = field(default_factory=Seen)
    target: str = ""
    """What it happened to: `mysql-2`."""
    outage_seconds: float = 0.0
    """The longest time without an acknowledged write, from the fault on."""
    whole_seconds: float | None = None
    """Until no part was missing any more; None when that was not seen."""
    load_average: float = 0.0
    """Of the machine's last minute, when the fault was over: what else ran beside it."""
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def row(self) -> str:
        """One line of the table; what broke a promise is named by `failures`."""
        lasts = f", {self.fault.seconds:.0f} s" if self.fault.seconds else ""
        cells = [
            f"{self.fault.name} ({self.target}{lasts})",
            f"{self.outage_seconds:.1f} s",
            f"{self.whole_seconds:.1f} s" if self.whole_seconds is not None else "not seen",
            ", ".join(f"{count} x {word}" for word, count in sorted(self.seen.words.items())),
            f"{len(self.lost)} of {self.acknowledged}",
            str(len(self.doubled)),
            f"{self.load_average:.0f}",
        ]
        return f"| {' | '.join(cells)} |"

    def failures(self) -> Iterator[str]:
        """What did not hold."""
        most = self.fault.most_outage_seconds
        if self.outage_seconds > most:
            yield f"writes were acknowledged again after {self.outage_seconds:.1f} s, not within {most:.1f} s"
        for word, count in self.seen.words.items():
            # Done, refused with a reason, or asked to come again; and behind the one proxy of this cluster.
            is_allowed = word in ("no answer", "503") or word[0] in "24"
            if not is_allowed and (word, self.fault.component) != (REFUSED, "haproxy-front"):
                yield f"{count} x {word}"
        if self.acknowledged == 0:
            yield "no write was acknowledged, so none was checked"
        yield from (f"lost: {one}" for one in self.lost)
        yield from (f"doubled: {one}" for one in self.doubled)
        yield from self.seen.findings
