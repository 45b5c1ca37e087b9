"""Sending one event to an endpoint: the address is checked, the body signed, and no redirect followed."""

from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from uuid_utils.compat import uuid7

from events.feed import reading
from events.models import FeedEvent, WebhookDelivery, WebhookEndpoint
from events.retries import Attempt
from events.webhooks import endpoints, signatures
from foundation import clock
from foundation.outbound import http_client, public_addresses
from foundation.outbound.http_client import NoResponse, ResponseTooLarge
from foundation.outbound.public_addresses import AddressRefused
from foundation.values import GivenValues

Payload = dict[str, Any]
"""An event as it is sent."""
MOST_ADDRESSES = 4
"""Of a host, that one attempt tries to connect to."""
LARGEST_ANSWER_BYTES = 64 * 2**10
"""Of an answer the status alone counts; many endpoints are sent to at once."""


def body_of(event: FeedEvent | reading.Event) -> Payload:
    """An event as `GET /events` has it."""
    return {"id": str(event.event_id), "type": event.type, "at": event.at, "data": event.data}


def only_for(endpoint_id: UUID, type: str, data: GivenValues) -> WebhookDelivery:
    """A new delivery to this endpoint alone, due at once and not saved, of what is no event of the feed."""
    id = uuid7()
    now = clock.now()
    payload = {"id": str(id), "type": type, "at": now.isoformat(), "data": data}
    status = WebhookDelivery.Status.PENDING
    columns = {"status": status, "next_attempt_at": now, "created_at": now, "payload": payload}
    return WebhookDelivery(endpoint_id=endpoint_id, event_id=id, type=type, **columns)


def stored(payload: Payload) -> Payload:
    """The payload as JSON has it: sent later, its bytes are the same."""
    kept: Payload = orjson.loads(orjson.dumps(payload, option=orjson.OPT_UTC_Z))
    return kept


def send(endpoint: WebhookEndpoint, *, id: str, payload: Payload) -> Attempt:
    """Send it, and wait `WEBHOOK_TIMEOUT_SECONDS` at most for the answer. Raises nothing."""
    body = orjson.dumps(payload, option=orjson.OPT_UTC_Z)
    now = clock.now()
    signed = signatures.headers(
        secrets=endpoints.secrets_of(endpoint, now), id=id, seconds=int(now.timestamp()), body=body
    )
    try:
        addresses = public_addresses.resolve(endpoint.url, allows_private=settings.WEBHOOK_PRIVATE_ADDRESSES)
        reply = http_client.send_request(
            "POST",
            endpoint.url,
            headers={"Content-Type": "application/json", **signed},
            body=body,
            seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
            address=",".join(addresses[:MOST_ADDRESSES]),
            most_bytes=LARGEST_ANSWER_BYTES,
        )
    except AddressRefused as refused:
        return Attempt(None, f"not sent: {refused}")
    except ResponseTooLarge:
        return Attempt(None, "the answer is too large")
    except NoResponse as failure:
        return Attempt(None, f"no answer: {failure}")
    return Attempt(reply.status, "" if 200 <= reply.status < 300 else f"HTTP {reply.status}")
