"""The data platform's own format: many events in a signed request, which it takes or refuses as a whole."""

import hashlib
import hmac
from collections.abc import Sequence

import orjson
from django.conf import settings

from events.retries import Attempt
from events.webhooks.sending import Payload
from foundation import clock
from foundation.outbound import http_client
from foundation.outbound.http_client import NoResponse, ResponseTooLarge

TIMEOUT_SECONDS = 3.0
# Of the body of an error response: enough for an operator.
LARGEST_ERROR_BYTES = 1_000
# These end by themselves or once a setting is corrected; the events are not the cause.
RETRYABLE_STATUSES = {401, 403, 408, 425, 429}


def send(events: Sequence[Payload]) -> Attempt:
    """Send these events, as `sending.body_of` gives them, in this order; ids seen before are dropped there.
    The attempt `is_final` if the answer blames the events. Raises nothing.
    """
    named = [
        {"id": event["id"], "type": event["type"], "occurred_at": event["at"], "data": event["data"]}
        for event in events
    ]
    body = orjson.dumps({"events": named}, option=orjson.OPT_UTC_Z)
    headers = {"Content-Type": "application/json"} | _signature(body)
    url = f"{settings.DATA_PLATFORM_URL}/events"
    try:
        reply = http_client.send_request(
            "POST", url, headers=headers, body=body, seconds=TIMEOUT_SECONDS, passes_trace=True
        )
    except (NoResponse, ResponseTooLarge) as error:
        return Attempt(None, f"no answer: {error}")
    if 200 <= reply.status < 300:
        return Attempt(reply.status, "")
    message = reply.body[:LARGEST_ERROR_BYTES].decode(errors="replace")
    is_final = 400 <= reply.status < 500 and reply.status not in RETRYABLE_STATUSES
    return Attempt(reply.status, f"HTTP {reply.status} {message}", is_final=is_final)


def _signature(body: bytes) -> dict[str, str]:
    """The header that signs the body and the time of sending, once for each secret; none without a secret."""
    if not settings.EVENT_SECRET:
        return {}
    seconds = str(int(clock.seconds()))
    message = f"{seconds}.".encode() + body
    secrets = [settings.EVENT_SECRET, *filter(None, settings.EVENT_SECRET_FALLBACKS)]
    signed = [hmac.new(one.encode(), message, hashlib.sha256).hexdigest() for one in secrets]
    return {"Firstcome-Signature": ",".join([f"t={seconds}", *(f"v1={one}" for one in signed)])}
