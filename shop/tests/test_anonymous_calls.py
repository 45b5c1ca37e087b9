"""Calls that name no account are counted by their network before their body is read."""

import asyncio
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.tokens import tokens
from accounts.tokens.authentication import BearerToken
from shop.burst import application
from shop.configuration import Rate
from shop.http import serving, views
from shop.rates import anonymous_calls
from shop.tests import asgi_client
from shop.tests.asgi_client import Answer, send_request, send_request_blocking
from shop.tests.factories import AccountFactory

SIGN_IN = "/api/v1/auth/token"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _as_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a worker serves the application, but that it waits for no client that still sends."""
    monkeypatch.setattr(asgi_client, "application", serving.Served(asgi_client.application))
    monkeypatch.setattr(serving, "LINGER_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _three_a_minute(settings: LazySettings) -> Iterator[None]:
    settings.RATE_ANONYMOUS = Rate(3, 60)
    anonymous_calls._calls.clear()
    yield
    anonymous_calls._calls.clear()


def send_unfinished(path: str) -> Answer:
    """A call whose body never ends: it is answered only if nothing waits for that."""

    async def answered() -> Answer:
        return await asyncio.wait_for(send_request("POST", path, parts=[b"{"], is_stalled=True), 2)

    return asyncio.run(answered())


@pytest.mark.parametrize(
    "path",
    [SIGN_IN, "/api/v1/auth/refresh", "/api/v1/users", "/api/v1/orders", "/api/v1/x", "/admin/login/"],
)
def test_calls_of_a_network_that_made_too_many_are_refused_before_their_body_is_read(path: str) -> None:
    # A token does not spare a call that looks at none.
    for access in ("nonsense", "", ""):
        assert send_request_blocking("POST", SIGN_IN, {"wrong": 1}, access=access).status == 400
    refused = send_unfinished(path)
    assert (refused.status, refused.headers["connection"]) == (429, "close")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_other_networks_and_calls_with_an_account_or_a_signature_are_not_counted(
    settings: LazySettings,
) -> None:
    settings.TRUSTED_PROXIES = 1
    near, far = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    for expected in (400, 400, 400, 429):
        assert send_request_blocking("POST", SIGN_IN, {"wrong": 1}, headers=near).status == expected
    assert send_request_blocking("POST", SIGN_IN, {"wrong": 1}, headers=far).status == 400
    access = tokens.create_access_token(AccountFactory.create())
    for _ in range(5):
        assert send_request_blocking("POST", "/api/v1/coupons", {}, access=access, headers=near).status == 400
        assert send_request_blocking("POST", "/api/v1/webhooks/simulator", {}, headers=near).status == 400
        assert send_request_blocking("GET", "/api/v1/products", headers=near).status == 200


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/password_change/"])
def test_a_body_that_would_wait_with_a_password_has_8_kib_at_most(path: str, settings: LazySettings) -> None:
    settings.RATE_ANONYMOUS = None
    assert send_request_blocking("POST", path, b" " * 8 * 1024).status in (302, 400, 403)
    refused = send_request_blocking("POST", path, b" " * (8 * 1024 + 1))
    assert (refused.status, refused.headers["connection"]) == (413, "close")
    assert b"larger than 8 KiB" in refused.body


def test_every_call_without_an_account_is_among_those_that_are_counted() -> None:
    def views_of(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, object]]:
        for one in patterns:
            path = prefix + str(one.pattern)
            if isinstance(one, URLResolver):
                yield from views_of(one.url_patterns, path)
            else:
                yield path, getattr(one.callback, "view_class", object)

    found = {
        path
        for path, shape in views_of(get_resolver().url_patterns, "/")
        if issubclass(shape, views.View)
        and BearerToken not in shape.authentication_classes
        and hasattr(shape, "post")
    }
    assert found == application.WITHOUT_ACCOUNT | {"/api/v1/webhooks/<str:gateway>"}
