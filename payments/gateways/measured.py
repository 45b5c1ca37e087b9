"""Measures the calls of gateways: how long each took, and what came of it."""

import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from prometheus_client import Histogram

from payments.gateways.contract import GatewayResult

CALLS = Histogram(
    "firstcome_gateway_call_seconds",
    "Calls of the gateway from their start to their result, in seconds, by the result's status.",
    ["gateway", "call", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
FAILED = "failed"
P = ParamSpec("P")
Call = Callable[P, GatewayResult]


def measured(gateway: str) -> Callable[[Call[P]], Call[P]]:
    """A decorator for a call of this gateway. Its outcome is the result's status, or `failed` if it raises.

    A call that was not made, because the circuit is open, is `unknown` like one without a reply.
    """

    def decorate(call: Call[P]) -> Call[P]:
        @wraps(call)
        def measuring(*args: P.args, **kwargs: P.kwargs) -> GatewayResult:
            began_at, outcome = time.perf_counter(), FAILED
            try:
                result = call(*args, **kwargs)
                outcome = result.status
                return result
            finally:
                CALLS.labels(gateway, call.__name__, outcome).observe(time.perf_counter() - began_at)

        return measuring

    return decorate
