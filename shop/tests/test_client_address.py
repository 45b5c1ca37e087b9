"""The client's address, and whether it is this machine's."""

import pytest
from django.conf import LazySettings
from django.test import Client, RequestFactory

from shop.http import client_address
from shop.http.client_address import AddressUnknown


def request(peer: str, **headers: str) -> object:
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
def test_only_addresses_appended_by_trusted_proxies_are_used(
    settings: LazySettings, proxies: int, forwarded: str, address: str
) -> None:
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
def test_a_call_with_missing_or_unreadable_hops_is_refused(
    settings: LazySettings, proxies: int, forwarded: str
) -> None:
    """The proxy's own address in its place would let a client count as another, or as this machine."""
    settings.TRUSTED_PROXIES = proxies

    with pytest.raises(AddressUnknown):
        client_address.from_request(request("192.0.2.1", **{"X-Forwarded-For": forwarded}))  # type: ignore[arg-type]


@pytest.mark.django_db
def test_a_sign_in_without_an_address_is_a_400_and_an_operators_shows_the_reason(
    settings: LazySettings,
) -> None:
    settings.TRUSTED_PROXIES = 1
    given = {"username": "ada", "password": "x"}
    answer = Client().post("/api/v1/auth/token", given, content_type="application/json")
    page = Client().post("/admin/login/", given)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
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
def test_only_requests_from_this_machine_are_local(
    settings: LazySettings, peer: str, proxies: int, headers: dict[str, str], is_local: bool
) -> None:
    settings.TRUSTED_PROXIES = proxies

    assert client_address.is_local(request(peer, **headers)) is is_local  # type: ignore[arg-type]
