"""Who is calling: a bearer token becomes an account, without a database query."""

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from shop import disabled_accounts, journal, tokens
from shop.tokens import Account, TokenInvalid


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer <access token>`; a call without it is anonymous."""

    def authenticate(self, request: Request) -> tuple[Account, None] | None:
        scheme, _, raw = get_authorization_header(request).decode("latin-1").strip().partition(" ")
        if scheme.lower() != "bearer":
            return None
        account = tokens.read_access(raw.strip())
        if disabled_accounts.is_disabled(account.id):
            raise TokenInvalid
        journal.identify(account_id=account.id, is_staff=account.is_staff)
        return account, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
