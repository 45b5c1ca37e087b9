"""HTTP calls to gateways, whose every reply may be late, wrong or hostile: bounded in time and size."""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson
import urllib3
from django.conf import settings
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from shop import transactions

LARGEST_ANSWER = 4 * 2**20
CHUNK = 2**16

# Tried once: whether to ask again is for the saga to decide, which knows the key and what it costs.
_pool = urllib3.PoolManager(maxsize=64, retries=False)


class NoAnswer(Exception):
    """Nothing came back that says what happened. The text says what came instead, and names no card."""


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
    """Ask the gateway at `GATEWAY_URL`, within `GATEWAY_TIMEOUT_SECONDS`. Raises `NoAnswer`."""
    transactions.assert_outside()
    deadline = time.monotonic() + settings.GATEWAY_TIMEOUT_SECONDS
    try:
        response = _pool.request(
            method,
            settings.GATEWAY_URL + path,
            fields=query,
            json=body,
            headers={"Idempotency-Key": key} if key else None,
            timeout=urllib3.Timeout(total=settings.GATEWAY_TIMEOUT_SECONDS),
            preload_content=False,
        )
        # Whatever is not read to its end closes its connection instead of going back to the pool.
        with closing(response):
            content = _read(response, deadline)
    except NewConnectionError as error:
        raise NoAnswer("no connection") from error
    except TimeoutError as error:
        raise NoAnswer("no reply in time") from error
    except HTTPError as error:
        raise NoAnswer(f"the connection broke: {type(error).__name__}") from error
    if response.status >= 500:
        raise NoAnswer(f"HTTP {response.status}")
    try:
        return Answer(response.status, orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise NoAnswer(f"HTTP {response.status} without JSON") from error


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body, as it came: we ask for no compression, so what is compressed can't be read."""
    body = bytearray()
    while chunk := response.read1(CHUNK, decode_content=False):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise NoAnswer("an answer without end")
        if time.monotonic() > deadline:
            raise NoAnswer("no whole reply in time")
    return bytes(body)
