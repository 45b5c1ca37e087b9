"""Bearer authentication: finds the account of an access token without a database query."""

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from shop.accounts import disabled_accounts, tokens
from shop.accounts.token_signatures import TokenInvalid
from shop.accounts.tokens import Account
from shop.events import journal


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer <access token>`; a request without it is anonymous."""

    def authenticate(self, request: Request) -> tuple[Account, None] | None:
        disabled_accounts.refresh()
        account = account_from_header(request.META.get("HTTP_AUTHORIZATION", ""))
        return (account, None) if account else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def account_from_header(authorization: str) -> Account | None:
    """Return the account of a bearer token, without a query; None for another authorization scheme.

    Raises `TokenInvalid`, and `DatabaseUnavailable` if the set of disabled accounts is too old to rely on.
    """
    scheme, _, raw = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    account = tokens.verify_access_token(raw.strip())
    if disabled_accounts.is_disabled_in_cache(account.id):
        raise TokenInvalid
    journal.identify_actor(account_id=account.id, is_staff=account.is_staff)
    return account
