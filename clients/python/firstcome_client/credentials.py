"""How a client signs in: by name and password, which gives tokens, or by an API key."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from firstcome_client.errors import NoAnswerError, ProblemError

Post = Callable[[str, Mapping[str, str]], Any]
"""POSTs JSON to a path without credentials, and returns the JSON of the answer."""


@dataclass(frozen=True)
class Password:
    """The name and password of an account."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class ApiKey:
    """The secret of an API key, and the number of the account that it acts for, if it does."""

    secret: str = field(repr=False)
    account: int | None = None


class Tokens:
    """The tokens of an account's sign-in, for all threads of a client: none sends a refresh token twice."""

    def __init__(self, password: Password, post: Post) -> None:
        self._password = password
        self._post = post
        self._lock = threading.Lock()
        self._access = ""
        self._refresh = ""

    def access(self) -> str:
        """The access token; the first call signs in. Raises ProblemError when the password is refused."""
        with self._lock:
            if not self._access:
                self._sign_in()
            return self._access

    def renew(self, refused: str) -> None:
        """Take new tokens in the place of a refused access token, unless another thread has done so.

        Signs in again when the refresh token is refused, or was sent and no answer came.
        """
        with self._lock:
            if self._access != refused:
                return
            try:
                self._keep(self._post("/api/v1/auth/refresh", {"refresh": self._refresh}))
            except (ProblemError, NoAnswerError):
                self._sign_in()

    def _sign_in(self) -> None:
        body = {"username": self._password.username, "password": self._password.password}
        self._keep(self._post("/api/v1/auth/token", body))

    def _keep(self, tokens: Mapping[str, str]) -> None:
        self._access, self._refresh = tokens["access"], tokens["refresh"]
