"""Who is calling: a bearer token becomes an account, without a database query."""

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from shop import disabled_accounts, journal, tokens
from shop.token_signatures import TokenInvalid
from shop.tokens import Account


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer <access token>`; a call without it is anonymous."""

    def authenticate(self, request: Request) -> tuple[Account, None] | None:
        account = account_of(request)
        return (account, None) if account else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def account_of(request: HttpRequest | Request) -> Account | None:
    """The account whose token the call bears; None without one. Raises `TokenInvalid`."""
    scheme, _, raw = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    account = tokens.read_access(raw.strip())
    if disabled_accounts.is_disabled(account.id):
        raise TokenInvalid
    journal.identify(account_id=account.id, is_staff=account.is_staff)
    return account
