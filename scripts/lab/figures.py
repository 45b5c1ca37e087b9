"""Reading what k6 measured: `k6/lab/asking.js` writes every metric as k6 itself sums it up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Metrics = Mapping[str, Mapping[str, float]]
OF_ANSWERS = "answer_"
OF_TICKETS = "ticket_"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`answers` counts the calls that wanted something by status and code; `per_second` is how many callers
    knew in a second what theirs had come to; times are of the call, `settled_p95_ms` until they knew."""

    answers: Mapping[str, int]
    tickets: Mapping[str, int]
    asked: int
    coupons: int
    unsure: int
    polls: int
    seconds: float
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    settled_p95_ms: float
    k6_cores: float


def read(metrics: Metrics, *, processor_seconds: float) -> Figures:
    """The figures of one run; `processor_seconds` is what k6 itself took."""
    took, settled = _trend(metrics, "took"), _trend(metrics, "settled")
    instants = _trend(metrics, "instants")
    seconds = max((instants["max"] - instants["min"]) / 1000, 0.001)
    return Figures(
        # `answer_409_sold_out` counts those that were told `409 sold_out`.
        answers={name.replace("_", " ", 1): n for name, n in _counts(metrics, OF_ANSWERS).items()},
        tickets=_counts(metrics, OF_TICKETS),
        asked=_count(metrics, "answered"),
        coupons=_count(metrics, "coupons"),
        unsure=_count(metrics, "unsure"),
        polls=_count(metrics, "polls"),
        seconds=round(seconds, 2),
        per_second=round(_count(metrics, "iterations") / seconds, 1),
        p50_ms=round(took["med"], 1),
        p95_ms=round(took["p(95)"], 1),
        p99_ms=round(took["p(99)"], 1),
        max_ms=round(took["max"], 1),
        settled_p95_ms=round(settled["p(95)"], 1),
        k6_cores=round(processor_seconds / seconds, 2),
    )


def steps(metrics: Metrics, vus: list[int], *, seconds: int) -> list[dict[str, Any]]:
    """The figures of each step that lasted so long; answers that came after it count for none."""
    told = []
    for number in vus:
        took = _trend(metrics, f"took{{scenario:vus_{number}}}")
        answered = _count(metrics, f"in_time{{scenario:vus_{number}}}")
        told.append(
            {
                "vus": number,
                "per_second": round(answered / seconds, 1),
                "p95_ms": round(took["p(95)"], 1),
                "max_ms": round(took["max"], 1),
            }
        )
    return told


def failed(answers: Mapping[str, int]) -> int:
    """How many calls didn't get what they asked for."""
    return sum(count for answer, count in answers.items() if not answer.startswith("2"))


def _counts(metrics: Metrics, prefix: str) -> dict[str, int]:
    """Counters that counted anything, by what follows the prefix."""
    return {
        name.removeprefix(prefix): int(values["count"])
        for name, values in sorted(metrics.items())
        if name.startswith(prefix) and values.get("count")
    }


def _count(metrics: Metrics, name: str) -> int:
    return int(metrics.get(name, {}).get("count", 0))


def _trend(metrics: Metrics, name: str) -> Mapping[str, float]:
    """The sums of a trend, all 0 where nothing was measured."""
    return {"min": 0, "med": 0, "p(95)": 0, "p(99)": 0, "max": 0} | dict(metrics.get(name, {}))
