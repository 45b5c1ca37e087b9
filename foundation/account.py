"""The account as a value: the caller of the API, whatever it is authenticated by."""

from typing import NamedTuple

from foundation.errors import NotAuthenticated
from foundation.lazy_texts import mark


class TokenInvalid(NotAuthenticated):
    """The token is forged, expired, used or revoked, of the wrong kind, or its account is disabled."""

    code = "token_invalid"

    def __init__(self) -> None:
        super().__init__(mark("The token is not valid, or not any more; sign in again."))


class UsedKey(NamedTuple):
    """The API key of a call; `is_acting` if it acts for an account, and not with the rights of its maker."""

    id: int
    is_acting: bool


class Account(NamedTuple):
    """The caller, from the access token's claims. `is_staff` is a hint, and
    `foundation.http.permissions` decides.

    `issued_after` is the number of the sign-out that the token was issued after; None if it has none.
    `family` is the sign-in that the token descends from, if it says so. A call by an API key has `key`.
    """

    id: int
    is_staff: bool
    is_active: bool = True
    issued_after: int | None = None
    family: str = ""
    key: UsedKey | None = None

    @property
    def pk(self) -> int:
        return self.id

    @property
    def is_authenticated(self) -> bool:
        return True
