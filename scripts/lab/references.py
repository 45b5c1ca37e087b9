"""Figures that others have published for comparable loads, on their machines."""

from collections.abc import Mapping

PUBLISHED: Mapping[tuple[str, str], str] = {
    ("paced", "optimistic"): "92.69/s, p95 241 ms",
    ("baseline", "unsafe"): "7,836 good of 30,000, 3,767 wrong rows",
    ("crowd", "spin_lock"): "about 311/s, p95 5.5 s",
    ("crowd", "fair_lock"): "500.8/s, p95 2.68 s",
    ("steady", "redis_gate"): "486.4/s, p95 9.75 ms",
    ("orders", "redis_gate"): "100.2/s, p95 44.3 ms",
    ("pool", "code_pool"): "1,500/s, 1,000 of 1,500",
}


def of(scenario: str, strategy: str) -> str:
    return PUBLISHED.get((scenario, strategy), "")
