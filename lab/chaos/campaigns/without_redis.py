"""What went on while Redis was away: orders, and coupons of the strategies that do without it."""

from lab.chaos.calls import Observations, Request
from lab.chaos.faults import Fault

OUTAGES = ("down", "no memory for", "old data for")
"""Sorts of faults while which Redis serves nothing, or takes no write."""
PATHS = ("/orders", "/coupons")


def is_outage(fault: Fault) -> bool:
    """Whether strategies that need Redis may refuse while this fault lasts."""
    return fault.name == "redis" and fault.sort in OUTAGES


def check(seen: Observations) -> None:
    """Print how many requests were answered during the recorded outages; none of many is a finding."""
    for path in PATHS:
        met = [
            request
            for request in seen.measured.requests
            if request.path == path and _is_inside(request, seen)
        ]
        good = sum(request.is_good for request in met)
        if met:
            print(f"while Redis was away {good} of {len(met)} requests of {path} were answered", flush=True)
        if met and not good:
            seen.record_finding(f"while Redis was away none of {len(met)} requests of {path} was answered")


def _is_inside(request: Request, seen: Observations) -> bool:
    return request.method == "POST" and any(
        began <= request.began and request.ended <= ended for began, ended in seen.measured.outages
    )
