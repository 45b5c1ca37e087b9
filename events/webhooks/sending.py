"""Sending one event to an endpoint: the address is checked, the body signed, and no redirect followed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from events.models import FeedEvent, WebhookEndpoint
from events.webhooks import endpoints, signatures
from shop import clock
from shop.outbound import http_client, public_addresses
from shop.outbound.http_client import NoResponse, NotConnected, Reply, ResponseTooLarge
from shop.outbound.public_addresses import AddressRefused

MOST_ADDRESSES = 4
"""Of a host, that one attempt tries to connect to."""
LARGEST_ANSWER_BYTES = 64 * 2**10
"""Of an answer the status alone counts; many endpoints are sent to at once."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of sending: delivered with any 2xx. `error` is what an operator reads; `is_final` says that
    the data platform refuses the event for good.
    """

    response_status: int | None
    error: str
    is_final: bool = False

    @property
    def is_delivered(self) -> bool:
        return not self.error


def body_of(event: FeedEvent) -> dict[str, Any]:
    """An event as `GET /events` has it."""
    return {"id": str(event.event_id), "type": event.type, "at": event.at, "data": event.data}


def stored(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload as JSON has it: sent later, its bytes are the same."""
    kept: dict[str, Any] = orjson.loads(orjson.dumps(payload, option=orjson.OPT_UTC_Z))
    return kept


def send(endpoint: WebhookEndpoint, *, id: str, payload: dict[str, Any]) -> Attempt:
    """Send it, and wait `WEBHOOK_TIMEOUT_SECONDS` at most for the answer. Raises nothing."""
    body = orjson.dumps(payload, option=orjson.OPT_UTC_Z)
    now = clock.now()
    signed = signatures.headers(
        secrets=endpoints.secrets_of(endpoint, now), id=id, seconds=int(now.timestamp()), body=body
    )
    status, error = None, ""
    try:
        addresses = public_addresses.resolve(endpoint.url, allows_private=settings.DEBUG)
        status = _post(endpoint.url, {"Content-Type": "application/json", **signed}, body, addresses).status
        error = "" if 200 <= status < 300 else f"HTTP {status}"
    except AddressRefused as refused:
        error = f"not sent: {refused}"
    except ResponseTooLarge:
        error = "the answer is too large"
    except NoResponse as failure:
        error = f"no answer: {failure}"
    return Attempt(status, error)


def _post(url: str, headers: Mapping[str, str], body: bytes, addresses: Sequence[str]) -> Reply:
    """Post to the first of these addresses that can be connected to. Raises `NoResponse`."""
    ends_at = time.monotonic() + settings.WEBHOOK_TIMEOUT_SECONDS
    refused = NotConnected("no connection")
    for address in addresses[:MOST_ADDRESSES]:
        left = ends_at - time.monotonic()
        if left <= 0:
            break
        try:
            return http_client.send_request(
                "POST",
                url,
                headers=headers,
                body=body,
                seconds=left,
                address=address,
                most_bytes=LARGEST_ANSWER_BYTES,
            )
        except NotConnected as error:
            refused = error
    raise refused
