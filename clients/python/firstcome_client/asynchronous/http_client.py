"""The HTTP client below all calls: it signs them, repeats what may be repeated, and raises problems."""

import asyncio
import itertools
import time
from collections.abc import Mapping
from typing import Any

import httpx

from firstcome_client.asynchronous.session import AsyncSession, FreshToken
from firstcome_client.credentials import ApiKey, Password, Tokens
from firstcome_client.errors import NoAnswerError, ProblemError
from firstcome_client.repeating import NO_ANSWER, Retries, may_be_repeated, pause, set_timeouts

Credentials = Password | Tokens | ApiKey | FreshToken


class AsyncHttpClient(httpx.AsyncClient):
    """httpx's client for the shop, for any number of calls at once.

    A call is sent again when no answer came, and when the shop says that the refusal passes by itself, after
    its `Retry-After`: with the same idempotency key, for it is the same request. A call that has no key, and
    whose repeat could have a second effect, is sent once.
    """

    def __init__(self, base_url: str, credentials: Credentials | None, retries: Retries) -> None:
        headers = {"User-Agent": "firstcome-client", "Accept": "application/json"}
        self._session: AsyncSession | None = None
        if isinstance(credentials, ApiKey):
            headers["Authorization"] = f"Bearer {credentials.secret}"
            if credentials.account is not None:
                headers["Firstcome-Account"] = str(credentials.account)
        elif credentials is not None:
            self._session = AsyncSession(credentials, self._post_unsigned)
        super().__init__(base_url=base_url, headers=headers)
        self.retries = retries

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send the call, and return an answer that is no problem.

        Raises ProblemError for every status of 400 and more and for redirects, NoAnswerError when no answer
        came.
        """
        if self._session is None:
            return await self._send_checked(request, options)
        token = await self._session.access()
        try:
            return await self._send_checked(_signed(request, token), options)
        except ProblemError as error:
            if error.status != 401 or not self._session.can_renew:
                raise
        # A call that was refused for its token did nothing, so that any call may be sent again.
        await self._session.renew(token)
        return await self._send_checked(_signed(request, await self._session.access()), options)

    async def aclose(self) -> None:
        """Close the connections, after a renewal that is under way: its answer has the next refresh token."""
        if self._session is not None:
            await self._session.settle()
        await super().aclose()

    async def _post_unsigned(self, path: str, body: Mapping[str, str]) -> Any:
        answer = await self._send_checked(self.build_request("POST", path, json=body), {})
        return answer.json()

    async def _send_checked(self, request: httpx.Request, options: Mapping[str, Any]) -> httpx.Response:
        response = await self._send_repeatedly(request, options)
        if response.is_error or response.has_redirect_location:
            raise ProblemError.of(response)
        return response

    async def _send_repeatedly(self, request: httpx.Request, options: Mapping[str, Any]) -> httpx.Response:
        give_up_at = time.monotonic() + self.retries.seconds
        for attempt in itertools.count(1):
            set_timeouts(request, give_up_at - time.monotonic())
            response, failure = None, None
            try:
                response = await super().send(request, **options)
            except NO_ANSWER as error:
                failure = error
            seconds = pause(response, attempt) if may_be_repeated(request) else None
            is_last = attempt >= self.retries.attempts
            if seconds is not None and not is_last and time.monotonic() + seconds < give_up_at:
                await asyncio.sleep(seconds)
            elif response is None:
                raise NoAnswerError(request, attempt) from failure
            else:
                return response
        raise AssertionError("unreachable: the attempts are counted")


def _signed(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
