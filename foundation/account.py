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
    `family` is the sign-in that the token descends from, if it says so. A call by an API key has `key`. Whom
    an identity provider signed in `is_external`.
    """

    id: int
    is_staff: bool
    is_active: bool = True
    issued_after: int | None = None
    family: str = ""
    key: UsedKey | None = None
    is_external: bool = False

    @property
    def may_be_staff(self) -> bool:
        """Whether this call may use rights of staff, if its account has them: not one that an API key makes
        for an account, and none whose second factor is not ours.
        """
        return not self.is_external and not (self.key is not None and self.key.is_acting)

    @property
    def pk(self) -> int:
        return self.id

    @property
    def is_authenticated(self) -> bool:
        return True
