"""A client of the API: JSON in and out, authenticated by a real access token."""

from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from accounts.tokens import token_pairs
from foundation.http.json_format import dump
from foundation.tests.factories import AccountFactory, SuperuserFactory

BASE = "/api/v1"


class Api:
    """Calls paths below /api/v1, or those of `next` links as they are; keywords are headers.

    `api.post("/orders", {"items": []}, key="one", Prefer="wait=5")` sends the body as JSON, an
    `Idempotency-Key` and a `Prefer`; bytes are sent unchanged. An error inside a view is returned as the
    client would see it.
    """

    def __init__(self, *, access=""):
        headers = {"Authorization": f"Bearer {access}"} if access else {}
        self._client = Client(headers=headers, raise_request_exception=False)

    def get(self, path: str, **headers: str):
        return self._call("GET", path, None, "", headers)

    def read(self, path: str, **headers: str):
        """What there is at this path."""
        answer = self.get(path, **headers)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def rows(self, path: str, **headers: str) -> list[Any]:
        """The rows of this page of a list."""
        return self.read(path, **headers)["results"]

    def post(self, path: str, body=None, *, key="", **headers: str):
        return self._call("POST", path, body, key, headers)

    def patch(self, path: str, body=None, **headers: str):
        return self._call("PATCH", path, body, "", headers)

    def delete(self, path: str, **headers: str):
        return self._call("DELETE", path, None, "", headers)

    def _call(self, method, path, body, key, headers):
        if key:
            headers = headers | {"Idempotency-Key": key}
        sent = b"" if body is None else body if isinstance(body, bytes) else dump(body)
        return self._client.generic(
            method,
            path if path.startswith(("http", "/api/")) else BASE + path,
            sent,
            content_type="application/json",
            headers=headers,
        )


def client_of(account: User | None = None) -> Api:
    """A client signed in as the account; anonymous without an account."""
    return Api(access=token_pairs.create_access_token(account) if account else "")


def new_customer() -> Api:
    return client_of(AccountFactory())


def new_superuser() -> Api:
    return client_of(SuperuserFactory())


def signed_in(account: User) -> Client:
    """A browser in which the account is signed in."""
    client = Client()
    client.force_login(account)
    return client


def problem_of(response) -> tuple[int, str]:
    """The status and code of a refusal."""
    body = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert body["status"] == response.status_code
    return response.status_code, body["code"]


def faults(response) -> list[tuple[str, str]]:
    """The field and the code of each error of a body or query that is refused as invalid."""
    assert problem_of(response) == (400, "invalid"), response.content
    return [(fault["field"], fault["code"]) for fault in response.json()["errors"]]
