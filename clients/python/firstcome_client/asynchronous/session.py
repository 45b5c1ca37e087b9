"""The access token of a client."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from firstcome_client.credentials import Password, Tokens
from firstcome_client.errors import NoAnswerError, ProblemError

Post = Callable[[str, Mapping[str, str]], Awaitable[Any]]
"""POSTs JSON to a path without credentials, and returns the JSON of the answer."""
FreshToken = Callable[[], Awaitable[str]]
"""Returns an access token that is good, such as one of the shop's identity provider."""


class AsyncSession:
    """The access token for all calls of a client: those that meet a refused one renew it once."""

    def __init__(self, credentials: Password | Tokens | FreshToken, post: Post) -> None:
        self._credentials = credentials
        self._post = post
        self._lock = asyncio.Lock()
        self._access = self._refresh = ""
        if isinstance(credentials, Tokens):
            self._access, self._refresh = credentials.access, credentials.refresh
        self._may_sign_in = isinstance(credentials, Password)

    @property
    def can_renew(self) -> bool:
        """Whether there is a way to another access token."""
        return bool(self._refresh) or not isinstance(self._credentials, Tokens)

    async def access(self) -> str:
        """The access token; the first call may sign in. Raises ProblemError when that is refused."""
        if not self._access:
            await self.renew("")
        async with self._lock:
            return self._access

    async def renew(self, refused: str) -> None:
        """Take a new access token in the place of a refused one, unless another call has done so.

        By a password it signs in again when the refresh token is refused, or was sent and no answer came. It
        goes on when the call is cancelled: a refresh token is good for one use, and the answer has the next.
        """
        await asyncio.shield(asyncio.create_task(self._renew_once(refused)))

    async def settle(self) -> None:
        """Wait until no renewal is under way."""
        async with self._lock:
            pass

    async def _renew_once(self, refused: str) -> None:
        async with self._lock:
            if self._access == refused:
                await self._renew()

    async def _renew(self) -> None:
        if not isinstance(self._credentials, Password | Tokens):
            self._access = await self._credentials()
            return
        if self._refresh:
            try:
                self._keep(await self._post("/api/v1/auth/refresh", {"refresh": self._refresh}))
            except (ProblemError, NoAnswerError):
                if not self._may_sign_in:
                    raise
            else:
                return
        await self._sign_in()

    async def _sign_in(self) -> None:
        if not isinstance(self._credentials, Password):
            raise ValueError("the tokens have neither an access nor a refresh token")
        body = {"username": self._credentials.username, "password": self._credentials.password}
        if self._credentials.one_time_code is not None:
            body["otp"] = self._credentials.one_time_code
            # The shop takes each code once.
            self._may_sign_in = False
        self._keep(await self._post("/api/v1/auth/token", body))

    def _keep(self, tokens: Mapping[str, str]) -> None:
        assert isinstance(self._credentials, Password | Tokens)
        self._access, self._refresh = tokens["access"], tokens["refresh"]
        if self._credentials.on_change is not None:
            self._credentials.on_change(self._access, self._refresh)
