"""API keys for tests: made by real calls of the domain, and clients that call by them."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User

from accounts.api_keys import keys
from accounts.api_keys.keys import NewSecret
from accounts.tests.clients import Api
from foundation.tests.factories import SuperuserFactory


def make(
    *scopes: str, maker: User | None = None, name="warehouse", expires_at: datetime | None = None
) -> NewSecret:
    """A new key with these scopes, of a new superuser unless a maker is given."""
    maker = maker or SuperuserFactory()
    return keys.create(maker_id=maker.pk, name=name, wanted_scopes=scopes, expires_at=expires_at)


class KeyApi(Api):
    """A client that calls by a key; with `account` it acts for that account in each call."""

    def __init__(self, secret, *, account=None):
        super().__init__(access=secret)
        number = account.pk if isinstance(account, User) else account
        self._own = {} if number is None else {"Firstcome-Account": str(number)}

    def _call(self, method, path, body, key, headers):
        return super()._call(method, path, body, key, self._own | headers)


def client_with(*scopes: str, maker: User | None = None, account: User | int | str | None = None) -> KeyApi:
    return KeyApi(make(*scopes, maker=maker).secret, account=account)


def codes(answers: Collection[Any]) -> list[str]:
    return [answer.json()["code"] for answer in answers]
