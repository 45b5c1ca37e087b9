"""The HTTP client below all calls: it signs them, repeats what may be repeated, and raises problems."""

import itertools
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from firstcome_client.credentials import ApiKey, Password, Tokens
from firstcome_client.errors import KEY, NoAnswerError, ProblemError, problem, retry_after

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


class HttpClient(httpx.Client):
    """httpx's client for the shop, for any number of threads.

    A call is sent again when no answer came, and when the shop says that the refusal passes by itself, after
    its `Retry-After`: with the same idempotency key, for it is the same request. A call that has no key, and
    whose repeat could have a second effect, is sent once.
    """

    def __init__(self, base_url: str, credentials: Password | ApiKey | None, retries: Retries) -> None:
        headers = {"User-Agent": "firstcome-client", "Accept": "application/json"}
        self._tokens: Tokens | None = None
        if isinstance(credentials, Password):
            self._tokens = Tokens(credentials, self._post_unsigned)
        elif credentials is not None:
            headers["Authorization"] = f"Bearer {credentials.secret}"
            if credentials.account is not None:
                headers["Firstcome-Account"] = str(credentials.account)
        super().__init__(base_url=base_url, headers=headers)
        self.retries = retries

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send the call, and return an answer that is no problem.

        Raises ProblemError for every status of 400 and more, NoAnswerError when no answer came.
        """
        if self._tokens is None:
            return self._send_checked(request, options)
        token = self._tokens.access()
        try:
            return self._send_checked(_signed(request, token), options)
        except ProblemError as error:
            if error.status != 401:
                raise
        # A call that was refused for its token did nothing, so that any call may be sent again.
        self._tokens.renew(token)
        return self._send_checked(_signed(request, self._tokens.access()), options)

    def _post_unsigned(self, path: str, body: Mapping[str, str]) -> Any:
        return self._send_checked(self.build_request("POST", path, json=body), {}).json()

    def _send_checked(self, request: httpx.Request, options: Mapping[str, Any]) -> httpx.Response:
        response = self._send_repeatedly(request, options)
        if response.is_error:
            raise ProblemError.of(response)
        return response

    def _send_repeatedly(self, request: httpx.Request, options: Mapping[str, Any]) -> httpx.Response:
        give_up_at = time.monotonic() + self.retries.seconds
        for attempt in itertools.count(1):
            _set_timeouts(request, give_up_at - time.monotonic())
            response, failure = None, None
            try:
                response = super().send(request, **options)
            except NO_ANSWER as error:
                failure = error
            pause = _pause(response, attempt) if _may_be_repeated(request) else None
            is_last = attempt >= self.retries.attempts
            if pause is not None and not is_last and time.monotonic() + pause < give_up_at:
                time.sleep(pause)
            elif response is None:
                raise NoAnswerError(request, attempt) from failure
            else:
                return response
        raise AssertionError("unreachable: the attempts are counted")


def _signed(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _set_timeouts(request: httpx.Request, left: float) -> None:
    answer, connect = min(ANSWER_SECONDS, left), min(CONNECT_SECONDS, left)
    request.extensions["timeout"] = httpx.Timeout(answer, connect=connect).as_dict()


def _may_be_repeated(request: httpx.Request) -> bool:
    is_same = request.method == "POST" and SAME_WHEN_REPEATED.search(request.url.path)
    return request.method in SAFE or KEY in request.headers or bool(is_same)


def _pause(response: httpx.Response | None, attempt: int) -> float | None:
    """The seconds until the call is sent again; None for an answer that stays as it is."""
    # Random parts spread the clients that were refused together.
    backoff: float = random.uniform(0.5, 1) * min(8.0, 0.25 * 2.0**attempt)  # noqa: S311 - no secret
    if response is None or _is_of_a_proxy(response):
        return backoff
    if not _passes(response):
        return None
    seconds = retry_after(response.headers)
    return backoff if seconds is None else seconds + random.uniform(0, 0.25)  # noqa: S311 - no secret


def _is_of_a_proxy(response: httpx.Response) -> bool:
    return response.status_code in (502, 504) and not problem(response)


def _passes(response: httpx.Response) -> bool:
    if response.status_code == 409:
        return problem(response).get("code") in PASSING_CONFLICTS
    return response.status_code in (429, 503)
