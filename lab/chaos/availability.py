"""Availability of a trial: the share of requests that were answered as they should.

Bad is every 5xx, a 503 with `Retry-After` too, for its caller can't buy at that moment, no answer at all,
and a 409 that the shop's own locks cause. Refusals are good: the caller gets what the contract says.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

GOAL = 0.999
SERVICE_LEVEL_PATHS = {"/orders", "/payments", "/wallet/top-ups"}
"""What the service level counts of the POSTs."""
OWN_CONTENTION = "409 lock_not_acquired"
MOST_KINDS = 5


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it began and ended by the monotonic clock, its call, and its result."""

    began: float
    ended: float
    method: str
    path: str
    result: str

    @property
    def is_good(self) -> bool:
        """Whether it was answered as it should."""
        return self.result[:1] in ("2", "3", "4") and self.result != OWN_CONTENTION

    @property
    def is_of_service_level(self) -> bool:
        return self.method == "POST" and self.path in SERVICE_LEVEL_PATHS


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many requests were good, and what the others got."""

    good: int
    count: int
    bad: Counter[str]

    @property
    def value(self) -> float:
        """From 0 to 1; 1 for no request."""
        return self.good / self.count if self.count else 1.0

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} x {result}" for result, number in self.bad.most_common(MOST_KINDS))
        return f"{self.value:.3%} of {self.count} requests" + (f" ({kinds})" if kinds else "")


@dataclass
class Measurement:
    """The requests and outages of a trial's load."""

    requests: list[Request] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def shares(self) -> dict[str, Share]:
        """The shares by what they are of; the goal is that of the first one."""
        outside = list(self._outside_of_outages())
        return {
            "outside of outages": share(outside),
            "outside of outages, orders and payments": share(
                one for one in outside if one.is_of_service_level
            ),
            "with outages": share(self.requests),
        }

    def outage_seconds(self) -> float:
        """How long some outage lasted."""
        return sum(end - start for start, end in merged(self.outages))

    def _outside_of_outages(self) -> Iterable[Request]:
        outages = merged(self.outages)
        ends = [end for _, end in outages]
        for request in self.requests:
            # The first outage that ends after the request began is the only one it can overlap first.
            place = bisect_left(ends, request.began)
            if place == len(outages) or outages[place][0] > request.ended:
                yield request


def share(requests: Iterable[Request]) -> Share:
    """The share of good ones."""
    found = list(requests)
    bad = Counter(one.result for one in found if not one.is_good)
    return Share(len(found) - bad.total(), len(found), bad)


def merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time in spans that don't overlap, in order."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
