"""Which address counts as the client's, and which as this machine's."""

import pytest
from django.conf import LazySettings
from django.test import RequestFactory

from shop import addresses


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
        (2, "203.0.113.7", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, "not an address", "192.0.2.1"),
        (1, "2001:DB8:0::1", "2001:db8::1"),
        (1, "::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_only_what_trusted_proxies_appended_is_believed(
    settings: LazySettings, proxies: int, forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies

    assert addresses.of(request("192.0.2.1", **{"X-Forwarded-For": forwarded})) == address  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peer", "proxies", "headers", "is_local"),
    [
        ("127.0.0.1", 0, {}, True),
        ("::1", 0, {}, True),
        ("192.0.2.1", 0, {}, False),
        ("", 0, {}, False),
        # A proxy on this machine that nobody told us of hands on requests from anywhere.
        ("127.0.0.1", 0, {"X-Forwarded-For": "127.0.0.1"}, False),
        ("127.0.0.1", 0, {"Forwarded": "for=127.0.0.1"}, False),
        ("127.0.0.1", 1, {"X-Forwarded-For": "203.0.113.7"}, False),
        ("127.0.0.1", 1, {"X-Forwarded-For": "127.0.0.1"}, True),
    ],
)
def test_local_is_what_comes_from_this_machine_itself(
    settings: LazySettings, peer: str, proxies: int, headers: dict[str, str], is_local: bool
) -> None:
    settings.TRUSTED_PROXIES = proxies

    assert addresses.is_local(request(peer, **headers)) is is_local  # type: ignore[arg-type]
