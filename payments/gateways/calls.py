"""Calls of gateways: each has a deadline, is measured, and is `unknown` without an answer of the expected
shape.

While the gateway is not reachable, calls fail without waiting. Only missing replies count for that: any HTTP
answer, even a 500, shows that it is reachable.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, ParamSpec
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.conf import settings
from prometheus_client import Histogram
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from structlog import get_logger

from payments.gateways.contract import GatewayResult
from shop.db import open_transaction
from shop.outbound import http_client
from shop.outbound.circuit_breaker import CircuitBreaker, CircuitOpen
from shop.outbound.http_client import NoResponse, Reply, ResponseTooLarge

log = get_logger(__name__)
FAILURES_TO_OPEN = 10
"""In a row: a single card may make a gateway time out, and the next answer resets the count."""
OPEN_SECONDS = 2
breaker = CircuitBreaker("gateway", failures=FAILURES_TO_OPEN, seconds=OPEN_SECONDS)
forget = breaker.record_success
LONGEST_DETAIL = 255
LONGEST_ADDRESS = 2000


Reference = Annotated[str, Field(pattern=r"^[!-~]{1,96}$")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Detail = Annotated[
    str, BeforeValidator(lambda value: value[:LONGEST_DETAIL] if isinstance(value, str) else value)
]
Amount = Annotated[int, Field(ge=0, le=10**15)]
Address = Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=LONGEST_ADDRESS)]
"""The address of a page for the card's owner, whom the shop sends there."""
ORDER = "{order}"
"""What stands for the order's id in `PAYMENT_RETURN_URL`; it is empty for a top-up."""
CALLS = Histogram(
    "firstcome_gateway_call_seconds",
    "Calls of the gateway from their start to their result, in seconds, by the result's status.",
    ["gateway", "call", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
FAILED = "failed"
P = ParamSpec("P")
Call = Callable[P, GatewayResult]


class NoAnswer(Exception):
    """The gateway gave no usable answer. The text says what came instead, and contains no card's token."""


class ReplyPart(BaseModel):
    """Part of a reply: types are strict, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


@dataclass(frozen=True, slots=True)
class JsonReply:
    """The status of an answer below 500, and its JSON."""

    status: int
    content: Any


def return_address(order_id: UUID | None) -> str:
    """The shop's page to which the gateway's own leads the card's owner back; empty where there is none."""
    page: str = settings.PAYMENT_RETURN_URL
    return page.replace(ORDER, str(order_id or ""))


def request_json(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> JsonReply:
    """Send a JSON request to the gateway at `GATEWAY_URL`. Raises `NoAnswer`."""
    headers = {"Idempotency-Key": key} if key else {}
    content = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = orjson.dumps(body)
    url = f"{settings.GATEWAY_URL}{path}" + (f"?{urlencode(query)}" if query else "")
    reply = exchange(method, url, headers=headers, body=content)
    if reply.status >= 500:
        raise NoAnswer(f"HTTP {reply.status}")
    try:
        return JsonReply(reply.status, orjson.loads(reply.body))
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"HTTP {reply.status} without JSON") from error


def exchange(method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> Reply:
    """Send one request and read its whole reply, within `GATEWAY_TIMEOUT_SECONDS`; fails at once while the
    circuit is open. Raises `NoAnswer`.
    """
    open_transaction.assert_outside()
    seconds = settings.GATEWAY_TIMEOUT_SECONDS
    try:
        with breaker.guard(NoResponse):
            return http_client.send_request(method, url, headers=headers, body=body, seconds=seconds)
    except CircuitOpen as error:
        raise NoAnswer("the gateway is not reachable; it is called again soon") from error
    except (NoResponse, ResponseTooLarge) as error:
        raise NoAnswer(str(error)) from error


def measured(gateway: str, *errors: type[Exception]) -> Callable[[Call[P]], Call[P]]:
    """A decorator for a call of this gateway. Its result is `unknown` where it raises `NoAnswer`, the
    `ValidationError` of a reply of another shape, or one of these errors.

    It is measured by its result's status, and as `failed` if it raises anything else.
    """

    without_answer: tuple[type[Exception], ...] = (NoAnswer, ValidationError, *errors)

    def decorate(call: Call[P]) -> Call[P]:
        @wraps(call)
        def measuring(*args: P.args, **kwargs: P.kwargs) -> GatewayResult:
            began_at, outcome = time.perf_counter(), FAILED
            try:
                try:
                    result = call(*args, **kwargs)
                except without_answer as error:
                    result = _unknown_result(call.__name__, error, kwargs["key"])
                outcome = result.status
                return result
            finally:
                CALLS.labels(gateway, call.__name__, outcome).observe(time.perf_counter() - began_at)

        return measuring

    return decorate


def _unknown_result(call: str, error: Exception, key: object) -> GatewayResult:
    reason = describe_error(error)
    log.warning("gateway gave no usable answer", call=call, key=key, reason=reason)
    return GatewayResult(status="unknown", failure_detail=reason)


def describe_error(error: Exception) -> str:
    """What came instead of an answer, without quoting it: it may echo what was sent."""
    match error:
        case NoAnswer():
            return str(error)
        case ValidationError():
            return "an answer that can't be read"
    return f"{type(error).__name__}, HTTP {getattr(error, 'http_status', None)}"
