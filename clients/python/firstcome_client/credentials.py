"""How a client signs in: by name and password, by tokens that it was given, or by an API key.

The fourth way is a function that returns a fresh access token, as of the shop's identity provider.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

OnChange = Callable[[str, str], object]
"""Is given each new access token with its refresh token, so that a program can keep them."""


@dataclass(frozen=True)
class Password:
    """The name and password of an account, and a code of its authenticator app, if it has one.

    A code is good for one sign-in: without it the client signs in again when its refresh token is refused.
    """

    username: str
    password: str = field(repr=False)
    one_time_code: str | None = field(default=None, repr=False)
    on_change: OnChange | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Tokens:
    """The tokens of a sign-in. A refresh token is good for one use: keep those that `on_change` is given."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    on_change: OnChange | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ApiKey:
    """The secret of an API key, and the number of the account that it acts for, if it does."""

    secret: str = field(repr=False)
    account: int | None = None
