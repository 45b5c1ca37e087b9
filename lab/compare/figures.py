"""Reading what k6 measured: `k6/lab/asking.js` writes every metric with k6's own sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Metrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`answers` counts the calls by status and code; `per_second` is the rate of callers that got their final
    outcome; times are of the call, `settled_p95_ms` until that outcome."""

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
    """The figures of one run; `processor_seconds` is the processor time of k6 itself."""
    instants = metrics.get("instants", {"min": 0, "max": 0})
    seconds = max((instants["max"] - instants["min"]) / 1000, 0.001)
    return Figures(
        # `answer_409_sold_out` counts the answers `409 sold_out`.
        answers={name.replace("_", " ", 1): n for name, n in _counts(metrics, "answer_").items()},
        tickets=_counts(metrics, "ticket_"),
        asked=_count(metrics, "answered"),
        coupons=_count(metrics, "coupons"),
        unsure=_count(metrics, "unsure"),
        polls=_count(metrics, "polls"),
        seconds=round(seconds, 2),
        per_second=round(_count(metrics, "iterations") / seconds, 1),
        p50_ms=_time(metrics, "took", "med"),
        p95_ms=_time(metrics, "took", "p(95)"),
        p99_ms=_time(metrics, "took", "p(99)"),
        max_ms=_time(metrics, "took", "max"),
        settled_p95_ms=_time(metrics, "settled", "p(95)"),
        k6_cores=round(processor_seconds / seconds, 2),
    )


def steps(metrics: Metrics, vus: Sequence[int], *, seconds: float) -> list[dict[str, Any]]:
    """The figures of each step of that many seconds; answers that came after it count for none."""
    return [
        {
            "vus": number,
            "per_second": round(_count(metrics, f"in_time{{scenario:vus_{number}}}") / seconds, 1),
            "p95_ms": _time(metrics, f"took{{scenario:vus_{number}}}", "p(95)"),
            "max_ms": _time(metrics, f"took{{scenario:vus_{number}}}", "max"),
        }
        for number in vus
    ]


def judged(metrics: Metrics, vus: int, *, seconds: float, warm_up: float) -> dict[str, Any]:
    """The figures of one step of a ramp, without its warm-up; times are until the caller knew.

    `from` and `to` are the instants that they are of, in seconds since 1970; `failed` is a share. The step
    ends before its time if it has used all of its accounts.
    """
    began_at, ended_at = (metrics.get("instants", {}).get(end, 0) / 1000 for end in ("min", "max"))
    start, end = began_at + warm_up, min(began_at + seconds, ended_at)
    served, errors = _count(metrics, "served"), _count(metrics, "failed")
    return {
        "vus": vus,
        "from": round(start, 1),
        "to": round(max(start, end), 1),
        "per_second": round(served / (end - start), 1) if end > start else 0,
        "failed": round(errors / max(served + errors, 1), 4),
        "p50_ms": _time(metrics, "settled", "med"),
        "p95_ms": _time(metrics, "settled", "p(95)"),
        "p99_ms": _time(metrics, "settled", "p(99)"),
        "max_ms": _time(metrics, "settled", "max"),
    }


def failed(answers: Mapping[str, int]) -> int:
    """How many calls didn't get what they asked for."""
    return sum(count for answer, count in answers.items() if not answer.startswith("2"))


def _counts(metrics: Metrics, prefix: str) -> dict[str, int]:
    """Counters that counted anything, by what follows the prefix."""
    counts = {name: _count(metrics, name) for name in sorted(metrics) if name.startswith(prefix)}
    return {name.removeprefix(prefix): count for name, count in counts.items() if count}


def _count(metrics: Metrics, name: str) -> int:
    return int(metrics.get(name, {}).get("count", 0))


def _time(metrics: Metrics, name: str, sum_of: str) -> float:
    """0 if nothing was measured."""
    return round(metrics.get(name, {}).get(sum_of, 0), 1)
