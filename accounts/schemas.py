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
    """An account, as operators see it."""

    external_id: str | None
    created_at: datetime
    disabled_at: datetime | None


class TokensBody(BaseModel):
    """A pair of tokens."""

    access: str
    refresh: str
