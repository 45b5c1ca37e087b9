"""Telling the data platform: a signed batch of events, taken whole, refused, or not answered."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from shop import clock
from shop.db import transactions
from shop.outbound import http_client
from shop.outbound.breaker import Breaker
from shop.outbound.http_client import NoResponse, ResponseTooLarge

TIMEOUT_SECONDS = 3.0
# Of an answer that says why not: enough to be told to an operator.
LARGEST_ERROR_BYTES = 1_000
# These pass by themselves, or when somebody corrects a setting: the events are not to blame.
RETRYABLE_STATUSES = {401, 403, 408, 425, 429}

_breaker = Breaker()


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of a batch: no `error`, taken; else refused for good or, unless `is_final`, in vain."""

    error: str = ""
    is_final: bool = False


def send(events: Sequence[dict[str, Any]]) -> DeliveryResult:
    """Send up to `EVENTS_AT_ONCE` events in this order.

    What comes again is known by its id there and dropped. After one that wasn't answered in time nobody waits
    for the next: it is in vain at once, for a second.
    """
    transactions.assert_outside()
    if not _breaker.lets_through():
        return DeliveryResult("no answer a moment ago, so not asked")
    try:
        verdict = _post(events)
    except (NoResponse, ResponseTooLarge) as error:
        verdict = DeliveryResult(f"no answer: {error}")
        if _timed_out(error):
            _breaker.failed()
            return verdict
    # Whatever it said or didn't: it kept nobody waiting.
    _breaker.worked()
    return verdict


def _timed_out(error: NoResponse | ResponseTooLarge) -> bool:
    """Whether it took the time that it had; a connection that is refused or breaks off takes none."""
    return isinstance(error, ResponseTooLarge) or isinstance(error.__cause__, TimeoutError)


def reset() -> None:
    """Forget that it didn't answer (tests)."""
    _breaker.worked()


def _post(events: Sequence[dict[str, Any]]) -> DeliveryResult:
    body = orjson.dumps({"events": events}, option=orjson.OPT_UTC_Z)
    headers = {"Content-Type": "application/json"} | _signature(body)
    url = f"{settings.DATA_PLATFORM_URL}/events"
    reply = http_client.send_request("POST", url, headers=headers, body=body, seconds=TIMEOUT_SECONDS)
    if 200 <= reply.status < 300:
        return DeliveryResult()
    said = reply.body[:LARGEST_ERROR_BYTES].decode(errors="replace")
    is_final = 400 <= reply.status < 500 and reply.status not in RETRYABLE_STATUSES
    return DeliveryResult(f"HTTP {reply.status} {said}", is_final=is_final)


def _signature(body: bytes) -> dict[str, str]:
    """The header that says who sent just these bytes, and when; none without a secret."""
    if not settings.EVENT_SECRET:
        return {}
    seconds = str(int(clock.now().timestamp()))
    signed = hmac.new(settings.EVENT_SECRET.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return {"Firstcome-Signature": f"t={seconds},v1={signed.hexdigest()}"}
