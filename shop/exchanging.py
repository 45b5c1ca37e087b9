"""HTTP calls to others, whose every reply may be late, wrong or hostile: bounded in time and size."""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, TimeoutError

from shop import transactions

LARGEST_ANSWER = 4 * 2**20
CHUNK = 2**16

# Tried once: whether to ask again is for the caller to decide, who knows the key and what it costs.
_pool = urllib3.PoolManager(maxsize=64, retries=False)


class Silence(Exception):
    """Nobody answered; whether anybody heard is not known. The text says what came instead."""


class NotConnected(Silence):
    """There was no connection: nobody heard anything."""


class Endless(Exception):
    """Somebody answers, and doesn't end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, whatever it says."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, seconds: float
) -> Reply:
    """One request and its whole reply, within so many seconds. Raises `Silence` or `Endless`."""
    transactions.assert_outside()
    deadline = time.monotonic() + seconds
    try:
        response = _pool.request(
            method,
            url,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(total=seconds),
            preload_content=False,
        )
        # Whatever is not read to its end closes its connection instead of going back to the pool.
        with closing(response):
            return Reply(response.status, response.headers, _read(response, deadline))
    except (NewConnectionError, ConnectTimeoutError) as error:
        raise NotConnected("no connection") from error
    except TimeoutError as error:
        raise Silence("no reply in time") from error
    except HTTPError as error:
        raise Silence(f"the connection broke: {type(error).__name__}") from error


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body, as it came: we ask for no compression, so what is compressed can't be read."""
    body = bytearray()
    while chunk := response.read1(CHUNK, decode_content=False):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise Endless("an answer without end")
        if time.monotonic() > deadline:
            raise Silence("no whole reply in time")
    return bytes(body)
