"""HTTP calls to gateways, whose every reply may be late, wrong or hostile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from django.conf import settings

from payments.gateways import circuit
from payments.gateways.circuit import GatewayUnreachable, NoAnswer
from shop.db import transactions
from shop.outbound import http_client
from shop.outbound.http_client import NoResponse, Reply, ResponseTooLarge


@dataclass(frozen=True, slots=True)
class JsonReply:
    """The status of an answer below 500, and its JSON."""

    status: int
    content: Any


def request_json(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> JsonReply:
    """Ask the gateway at `GATEWAY_URL` something in JSON. Raises `NoAnswer`."""
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
    """One request and its whole reply, within `GATEWAY_TIMEOUT_SECONDS`. Raises `NoAnswer`.

    While the gateway is away that is told at once, without a call.
    """
    transactions.assert_outside()
    seconds = settings.GATEWAY_TIMEOUT_SECONDS
    with circuit.watched():
        try:
            return http_client.send_request(method, url, headers=headers, body=body, seconds=seconds)
        except NoResponse as error:
            raise GatewayUnreachable(str(error)) from error
        except ResponseTooLarge as error:
            raise NoAnswer(str(error)) from error
