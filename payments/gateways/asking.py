"""HTTP calls to gateways, whose every reply may be late, wrong or hostile: bounded in time and size."""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import urllib3
from django.conf import settings
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from payments.gateways import breaking
from payments.gateways.breaking import Away, NoAnswer
from shop import transactions

LARGEST_ANSWER = 4 * 2**20
CHUNK = 2**16

# Tried once: whether to ask again is for the saga to decide, which knows the key and what it costs.
_pool = urllib3.PoolManager(maxsize=64, retries=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, whatever it says."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of an answer below 500, and its JSON."""

    status: int
    content: Any


def ask(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> Answer:
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
        return Answer(reply.status, orjson.loads(reply.body))
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"HTTP {reply.status} without JSON") from error


def exchange(method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> Reply:
    """One request and its whole reply, within `GATEWAY_TIMEOUT_SECONDS`. Raises `NoAnswer`.

    While the gateway is away that is told at once, without a call.
    """
    transactions.assert_outside()
    with breaking.watched():
        return _exchange(method, url, headers, body)


def _exchange(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
    deadline = time.monotonic() + settings.GATEWAY_TIMEOUT_SECONDS
    try:
        response = _pool.request(
            method,
            url,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(total=settings.GATEWAY_TIMEOUT_SECONDS),
            preload_content=False,
        )
        # Whatever is not read to its end closes its connection instead of going back to the pool.
        with closing(response):
            return Reply(response.status, response.headers, _read(response, deadline))
    except NewConnectionError as error:
        raise Away("no connection") from error
    except TimeoutError as error:
        raise Away("no reply in time") from error
    except HTTPError as error:
        raise Away(f"the connection broke: {type(error).__name__}") from error


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body, as it came: we ask for no compression, so what is compressed can't be read."""
    body = bytearray()
    while chunk := response.read1(CHUNK, decode_content=False):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise NoAnswer("an answer without end")
        if time.monotonic() > deadline:
            raise Away("no whole reply in time")
    return bytes(body)
