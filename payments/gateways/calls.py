"""Calls of gateways, and strict types for their replies: one that doesn't match counts as no answer.

While the gateway is not reachable, calls fail without waiting. Only missing replies count for that: any HTTP
answer, even a 500, shows that it is reachable.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.conf import settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from foundation.db import open_transaction
from foundation.outbound import http_client
from foundation.outbound.circuit_breaker import CircuitBreaker, CircuitOpen
from foundation.outbound.http_client import NoResponse, Reply, ResponseTooLarge
from foundation.values import GivenValues
from payments.gateways.contract import called, own

FAILURES_TO_OPEN = 10
"""In a row, none of them while another call was answered: a card may make a gateway time out."""
OPEN_SECONDS = 2
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


class NoAnswer(Exception):
    """The gateway gave no usable answer. The text says what came instead, and contains no card's token."""


class NotCalled(NoAnswer):
    """The gateway is known to be away, and was not called."""


class ReplyPart(BaseModel):
    """Part of a reply: types are strict, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class JsonReply(NamedTuple):
    """The status of an answer below 500, and its JSON."""

    status: int
    content: Any


@cache
def breaker(name: str) -> CircuitBreaker:
    """Of the gateway of this name: one that is away stops no calls of another."""
    return CircuitBreaker(f"gateway {name}", failures=FAILURES_TO_OPEN, seconds=OPEN_SECONDS)


forget = breaker.cache_clear


def return_address(order_id: UUID | None) -> str:
    """The shop's page to which the gateway's own leads the card's owner back; empty where there is none."""
    page: str = settings.PAYMENT_RETURN_URL
    return page.replace(ORDER, str(order_id or ""))


def request_json(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: GivenValues | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
) -> JsonReply:
    """Send a JSON request to the gateway at its `GATEWAY_URL`, with its own `headers`. Raises `NoAnswer`."""
    content = None
    sent = {**(headers or {})}
    if key:
        sent["Idempotency-Key"] = key
    if body is not None:
        sent["Content-Type"] = "application/json"
        content = orjson.dumps(body)
    url = f"{own('GATEWAY_URL')}{path}" + (f"?{urlencode(query)}" if query else "")
    reply = exchange(method, url, headers=sent, body=content)
    if reply.status >= 500:
        raise NoAnswer(f"HTTP {reply.status}")
    try:
        return JsonReply(reply.status, orjson.loads(reply.body))
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"HTTP {reply.status} without JSON") from error


def exchange(method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> Reply:
    """Send one request and read its whole reply, within `GATEWAY_TIMEOUT_SECONDS`; fails at once while the
    circuit is open. Raises `NoAnswer`, or `NotCalled`.
    """
    open_transaction.assert_outside()
    seconds = settings.GATEWAY_TIMEOUT_SECONDS
    try:
        with breaker(called()).guard(NoResponse):
            return http_client.send_request(method, url, headers=headers, body=body, seconds=seconds)
    except CircuitOpen as error:
        raise NotCalled("the gateway is not reachable; it is called again soon") from error
    except (NoResponse, ResponseTooLarge) as error:
        raise NoAnswer(str(error)) from error
