"""Request and response bodies of the account endpoints."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from foundation.http.validation import Input

# The lengths of Django's columns.
Username = Annotated[str, Field(min_length=1, max_length=150)]
Password = Annotated[str, Field(min_length=1, max_length=4096)]


class RegisterInput(Input):
    """A new account."""

    username: Username
    email: Annotated[str, Field(min_length=1, max_length=254)]
    password: Password


class SignInInput(Input):
    """A username and its password; a staff account needs a one-time code, or a backup code, too."""

    username: Username
    password: Password
    otp: Annotated[str, Field(min_length=1, max_length=32)] | None = None


class ChangePasswordInput(Input):
    """The account's password, and the one that it is to have."""

    current: Password
    new: Password


class RefreshInput(Input):
    """A refresh token."""

    refresh: Annotated[str, Field(min_length=1, max_length=4096)]


class AccountBody(BaseModel):
    """An account."""

    id: int
    username: str
    email: str


class OwnAccountBody(AccountBody):
    """The caller's own account."""

    is_staff: bool


class OneAccountBody(AccountBody):
    """An account. `external_id` is its name at an outside provider of identities, null for the shop's own.

    `disabled_at` is null while it is enabled; of one that was disabled outside of the shop's pages and calls
    it is `created_at`.
    """

    external_id: str | None
    created_at: datetime
    disabled_at: datetime | None


class TokensBody(BaseModel):
    """An access token, valid for 15 minutes, and a refresh token, valid for one use."""

    access: str
    refresh: str
