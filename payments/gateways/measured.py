"""Measures the calls of gateways, and makes an unknown result of those without a usable answer."""

import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from prometheus_client import Histogram
from pydantic import ValidationError
from structlog import get_logger

from payments.gateways.calls import NoAnswer, NotCalled
from payments.gateways.contract import NOT_CALLED, GatewayResult, called

log = get_logger(__name__)
CALLS = Histogram(
    "firstcome_gateway_call_seconds",
    "Seconds of a call of the gateway, by its result; unknown: no reply, or not called; failed: a defect.",
    ["gateway", "call", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
P = ParamSpec("P")
Call = Callable[P, GatewayResult]


def measured(*errors: type[Exception]) -> Callable[[Call[P]], Call[P]]:
    """A decorator for a call of a gateway. Its result is `unknown` where it raises `NoAnswer`, the
    `ValidationError` of a reply of another shape, or one of these errors.

    It is measured by its result's status, and as `failed` if it raises anything else.
    """
    without_answer: tuple[type[Exception], ...] = (NoAnswer, ValidationError, *errors)

    def decorate(call: Call[P]) -> Call[P]:
        @wraps(call)
        def measuring(*args: P.args, **kwargs: P.kwargs) -> GatewayResult:
            began_at = time.perf_counter()
            outcome = "failed"
            try:
                result = call(*args, **kwargs)
                outcome = result.status
                return result
            except without_answer as error:
                reason = describe_error(error)
                outcome = "unknown"
                log.warning(
                    "gateway gave no usable answer", call=call.__name__, key=kwargs["key"], reason=reason
                )
                code = NOT_CALLED if isinstance(error, NotCalled) else ""
                return GatewayResult(status="unknown", failure_code=code, failure_detail=reason)
            finally:
                CALLS.labels(called(), call.__name__, outcome).observe(time.perf_counter() - began_at)

        return measuring

    return decorate


def describe_error(error: Exception) -> str:
    """What came instead of an answer, without quoting it: it may echo what was sent."""
    if isinstance(error, NoAnswer):
        return str(error)
    if isinstance(error, ValidationError):
        return "an answer that can't be read"
    return f"{type(error).__name__}, HTTP {getattr(error, 'http_status', None)}"
