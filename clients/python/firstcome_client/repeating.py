"""Which calls are sent again, when, and how often."""

import random
import re
from dataclasses import dataclass

import httpx

from firstcome_client.errors import KEY, problem, retry_after

ANSWER_SECONDS = 40.0
"""For one answer: more than the 30 s that `Prefer: wait` has at most."""
CONNECT_SECONDS = 5.0
SAFE = ("GET", "HEAD")
SAME_WHEN_REPEATED = re.compile(r"/api/v1/(auth/token|coupons|orders/[^/]+/cancel|sales/[^/]+/entries)$")
"""Calls without a key whose repeat has no second effect: the answer has the same coupon, order or entry."""
PASSING_CONFLICTS = ("idempotency_key_in_flight", "lock_not_acquired", "conflict")
NO_ANSWER = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)


@dataclass(frozen=True)
class Retries:
    """How often a call is sent at most, and the seconds after which it is not sent again."""

    attempts: int = 5
    seconds: float = 60.0


def may_be_repeated(request: httpx.Request) -> bool:
    """Whether the call may be sent again: it is safe, has a key, or its repeat has the same effect."""
    is_same = request.method == "POST" and SAME_WHEN_REPEATED.search(request.url.path)
    return request.method in SAFE or KEY in request.headers or bool(is_same)


def pause(response: httpx.Response | None, attempt: int) -> float | None:
    """The seconds until the call is sent again; None for an answer that stays as it is."""
    # Random parts spread the clients that were refused together.
    backoff: float = random.uniform(0.5, 1) * min(8.0, 0.25 * 2.0**attempt)  # noqa: S311 - no secret
    if response is None or _is_of_a_proxy(response):
        return backoff
    if not passes(response.status_code, str(problem(response).get("code", ""))):
        return None
    seconds = retry_after(response.headers)
    return backoff if seconds is None else seconds + random.uniform(0, 0.25)  # noqa: S311 - no secret


def passes(status: int, code: str) -> bool:
    """Whether the refusal passes by itself."""
    return code in PASSING_CONFLICTS if status == 409 else status in (429, 503)


def set_timeouts(request: httpx.Request, left: float) -> None:
    """Let the connection, and each wait for a part of the answer, take no longer than what is left."""
    left = max(0.01, left)
    answer, connect = min(ANSWER_SECONDS, left), min(CONNECT_SECONDS, left)
    request.extensions["timeout"] = httpx.Timeout(answer, connect=connect).as_dict()


def _is_of_a_proxy(response: httpx.Response) -> bool:
    return response.status_code in (502, 504) and not problem(response)
