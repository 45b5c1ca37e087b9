"""The client of the data platform, which accepts, refuses or doesn't answer a signed batch of events."""

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from shop import clock
from shop.outbound import http_client
from shop.outbound.circuit_breaker import CircuitBreaker
from shop.outbound.http_client import NoResponse, ResponseTooLarge
from shop.webhook_models import BUILT_IN, WebhookEndpoint

TIMEOUT_SECONDS = 3.0
# Of the body of an error response: enough for an operator.
LARGEST_ERROR_BYTES = 1_000
# These end by themselves or once a setting is corrected; the events are not the cause.
RETRYABLE_STATUSES = {401, 403, 408, 425, 429}
HEALTH_SECONDS = 10.0
"""A process notes the same health again after so long, for another one may have noted the contrary."""

_breaker = CircuitBreaker("data platform")
_noted: tuple[bool, float] | None = None
"""Whether it was failing when this process noted that last, and when."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of a batch: accepted without an `error`, refused for good if `is_final`, else retryable."""

    error: str = ""
    is_final: bool = False


def send(events: Sequence[dict[str, Any]]) -> DeliveryResult:
    """Send up to `EVENTS_AT_ONCE` events in this order; ids seen before are dropped there. After a timeout,
    further calls fail at once for a second.
    """
    if not _breaker.allows_call():
        return DeliveryResult("no answer a moment ago, so not sent")
    result, hangs = DeliveryResult(), False
    try:
        result = _post(events)
    except (NoResponse, ResponseTooLarge) as error:
        result = DeliveryResult(f"no answer: {error}")
        # A connection that is refused or breaks fails at once, and opens no circuit.
        hangs = isinstance(error, ResponseTooLarge) or error.is_timeout
    _breaker.record_failure() if hangs else _breaker.record_success()
    return result


def note_health(*, is_failing: bool) -> None:
    """Note whether the events that were just sent were all refused or lost. Mostly without a statement."""
    global _noted
    now = time.monotonic()
    if _noted and _noted[0] == is_failing and now - _noted[1] < HEALTH_SECONDS:
        return
    endpoint = WebhookEndpoint.objects.filter(pk=BUILT_IN)
    changed = endpoint.filter(failing_since__isnull=is_failing)
    changed.update(failing_since=clock.now() if is_failing else None)
    _noted = is_failing, now


def reset() -> None:
    """Close the circuit breaker, and forget what was noted (tests)."""
    global _noted
    _breaker.record_success()
    _noted = None


def _post(events: Sequence[dict[str, Any]]) -> DeliveryResult:
    body = orjson.dumps({"events": events}, option=orjson.OPT_UTC_Z)
    headers = {"Content-Type": "application/json"} | _signature(body)
    url = f"{settings.DATA_PLATFORM_URL}/events"
    reply = http_client.send_request(
        "POST", url, headers=headers, body=body, seconds=TIMEOUT_SECONDS, passes_trace=True
    )
    if 200 <= reply.status < 300:
        return DeliveryResult()
    message = reply.body[:LARGEST_ERROR_BYTES].decode(errors="replace")
    is_final = 400 <= reply.status < 500 and reply.status not in RETRYABLE_STATUSES
    return DeliveryResult(f"HTTP {reply.status} {message}", is_final=is_final)


def _signature(body: bytes) -> dict[str, str]:
    """The header that signs the body and the time of sending, once for each secret; none without a secret."""
    if not settings.EVENT_SECRET:
        return {}
    seconds = str(int(clock.now().timestamp()))
    message = f"{seconds}.".encode() + body
    secrets = [settings.EVENT_SECRET, *filter(None, settings.EVENT_SECRET_FALLBACKS)]
    signed = [hmac.new(one.encode(), message, hashlib.sha256).hexdigest() for one in secrets]
    return {"Firstcome-Signature": ",".join([f"t={seconds}", *(f"v1={one}" for one in signed)])}
