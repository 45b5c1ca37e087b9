"""The network that a request comes from: its address, and how many calls it makes without an account."""

import asyncio

import pytest
from django.test import Client, RequestFactory
from django.urls import URLResolver, get_resolver

from accounts.tests.clients import problem_of
from accounts.tokens import token_pairs
from accounts.tokens.authentication import BearerToken
from foundation.http import client_address, serving, views
from foundation.http.client_address import AddressUnknown
from foundation.rates import rate_limits
from foundation.rates.rate import Rate
from foundation.tests import asgi_client
from foundation.tests.asgi_client import send_request, send_request_blocking
from foundation.tests.factories import AccountFactory
from shop.burst import application


def request(peer: str, **headers: str):
    return RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.7", "192.0.2.1"),
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (2, "198.51.100.1, 203.0.113.7", "198.51.100.1"),
        (2, "claimed, 198.51.100.1, 203.0.113.7", "198.51.100.1"),
        (1, "2001:DB8:0::1", "2001:db8::1"),
        (1, "::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_only_addresses_appended_by_trusted_proxies_are_used(settings, proxies, forwarded, address):
    settings.TRUSTED_PROXIES = proxies

    assert client_address.from_request(request("192.0.2.1", **{"X-Forwarded-For": forwarded})) == address  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("proxies", "forwarded"),
    [
        (1, ""),
        (1, "not an address"),
        (1, "203.0.113.7, "),
        (1, "203.0.113.7:4711"),
        (2, "203.0.113.7"),
        (2, "198.51.100.1, unknown"),
        (2, "unknown, 203.0.113.7"),
    ],
)
def test_a_call_with_missing_or_unreadable_hops_is_refused(settings, proxies, forwarded):
    """The proxy's own address in its place would let a client count as another, or as this machine."""
    settings.TRUSTED_PROXIES = proxies

    with pytest.raises(AddressUnknown):
        client_address.from_request(request("192.0.2.1", **{"X-Forwarded-For": forwarded}))  # type: ignore[arg-type]


def test_a_sign_in_without_an_address_is_a_400_and_an_operators_shows_the_reason(db, settings):
    settings.TRUSTED_PROXIES = 1
    given = {"username": "ada", "password": "x"}
    answer = Client().post("/api/v1/auth/token", given, content_type="application/json")
    page = Client().post("/admin/login/", given)

    assert problem_of(answer) == (400, "invalid")
    assert (page.status_code, b"X-Forwarded-For" in page.content) == (200, True)


@pytest.mark.parametrize(
    ("peer", "proxies", "headers", "is_local"),
    [
        ("127.0.0.1", 0, {}, True),
        ("::1", 0, {}, True),
        ("192.0.2.1", 0, {}, False),
        ("", 0, {}, False),
        # A proxy on this machine that is not configured forwards requests from anywhere.
        ("127.0.0.1", 0, {"X-Forwarded-For": "127.0.0.1"}, False),
        ("127.0.0.1", 0, {"Forwarded": "for=127.0.0.1"}, False),
        ("127.0.0.1", 1, {"X-Forwarded-For": "203.0.113.7"}, False),
        ("127.0.0.1", 0, {"X-Real-IP": "127.0.0.1"}, False),
        ("127.0.0.1", 0, {"Via": "1.1 proxy"}, False),
        # Behind a proxy every header may come from the client: `X_Forwarded_For` replaces the proxy's.
        ("127.0.0.1", 1, {"X-Forwarded-For": "127.0.0.1"}, False),
        ("127.0.0.1", 1, {}, False),
        ("127.0.0.1", 1, {"X-Forwarded-For": "unknown"}, False),
        ("127.0.0.1", 2, {"X-Forwarded-For": "127.0.0.1"}, False),
    ],
)
def test_only_requests_from_this_machine_are_local(settings, peer, proxies, headers, is_local):
    settings.TRUSTED_PROXIES = proxies

    assert client_address.is_local(request(peer, **headers)) is is_local  # type: ignore[arg-type]


SIGN_IN = "/api/v1/auth/token"


@pytest.fixture
def _three_a_minute(transactional_db, settings, monkeypatch):
    """As a worker serves the application, but that it waits for no client that still sends."""
    monkeypatch.setattr(asgi_client, "application", serving.Served(asgi_client.application))
    monkeypatch.setattr(serving, "LINGER_SECONDS", 0.0)
    settings.RATE_ANONYMOUS = Rate(3, 60)
    rate_limits.ANONYMOUS._calls.clear()
    yield
    rate_limits.ANONYMOUS._calls.clear()


@pytest.mark.usefixtures("_three_a_minute")
@pytest.mark.parametrize(
    "path", [SIGN_IN, "/api/v1/auth/refresh", "/api/v1/users", "/api/v1/orders", "/api/v1/x", "/admin/login/"]
)
def test_calls_of_a_network_that_made_too_many_are_refused_before_their_body_is_read(path):
    # A token does not spare a call that looks at none.
    for access in ("nonsense", "", ""):
        assert send_request_blocking("POST", SIGN_IN, {"wrong": 1}, access=access).status == 400
    # A body that never ends: the call is answered only if nothing waits for that.
    unfinished = send_request("POST", path, parts=[b"{"], is_stalled=True)
    refused = asyncio.run(asyncio.wait_for(unfinished, 2))
    assert (refused.status, refused.headers["connection"]) == (429, "close")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


@pytest.mark.usefixtures("_three_a_minute")
def test_other_networks_and_calls_with_an_account_or_a_signature_are_not_counted(settings):
    settings.TRUSTED_PROXIES = 1
    near, far = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    for expected in (400, 400, 400, 429):
        assert send_request_blocking("POST", SIGN_IN, {"wrong": 1}, headers=near).status == expected
    assert send_request_blocking("POST", SIGN_IN, {"wrong": 1}, headers=far).status == 400
    access = token_pairs.create_access_token(AccountFactory())
    for _ in range(5):
        assert send_request_blocking("POST", "/api/v1/coupons", {}, access=access, headers=near).status == 400
        assert send_request_blocking("POST", "/api/v1/webhooks/simulator", {}, headers=near).status == 400
        assert send_request_blocking("GET", "/api/v1/products", headers=near).status == 200


@pytest.mark.usefixtures("_three_a_minute")
@pytest.mark.parametrize("path", ["/admin/login/", "/admin/password_change/"])
def test_a_body_that_would_wait_with_a_password_has_8_kib_at_most(path, settings):
    settings.RATE_ANONYMOUS = None
    assert send_request_blocking("POST", path, b" " * 8 * 1024).status in (302, 400, 403)
    refused = send_request_blocking("POST", path, b" " * (8 * 1024 + 1))
    assert (refused.status, refused.headers["connection"]) == (413, "close")
    assert b"larger than 8 KiB" in refused.body


def test_every_call_without_an_account_is_among_those_that_are_counted():
    def views_of(patterns, prefix):
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
