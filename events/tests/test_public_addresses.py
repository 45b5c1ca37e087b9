"""Addresses that webhooks may not be sent to: each row of the table in docs/security.md."""

import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from events.tests.receivers import receiving
from events.webhooks import endpoints
from foundation import journal
from foundation.errors import Invalid
from foundation.journal import Actor, ActorContext
from foundation.outbound import http_client, public_addresses
from foundation.outbound.http_client import NoResponse, Reply
from foundation.outbound.public_addresses import AddressRefused
from foundation.tests.racing import race, wait_until
from scripts.tests import documented

HEADING = "## Addresses of webhooks"
ROW = re.compile(r"^\| ([^|]+) \| (`[^|]+`) \|", re.MULTILINE)


def documented_rows() -> list[tuple[str, str]]:
    """Each kind of address that the page says is refused, with each example of it."""
    section = documented.page("security.md").partition(HEADING)[2].partition("\n#")[0]
    return [
        (kind.strip(), example)
        for kind, examples in ROW.findall(section)
        for example in re.findall(r"`([^`]+)`", examples)
    ]


def resolving_to(monkeypatch, *addresses: str):
    """Have every name lead to these addresses, as a name server of an attacker may say."""

    def found(host, port, **_):
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize(("kind", "address"), documented_rows())
def test_a_name_that_leads_there_too_is_refused(kind, address, monkeypatch):
    if "://" in address:
        with pytest.raises(AddressRefused):
            public_addresses.check_url(address, allows_private=False)
        return
    assert not public_addresses.is_public(address)
    for found in ([address], ["93.184.216.34", address]):
        resolving_to(monkeypatch, *found)
        with pytest.raises(AddressRefused):
            public_addresses.resolve("https://receiver.example/hooks", allows_private=False)
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressRefused):
        public_addresses.resolve(f"https://{literal}/hooks", allows_private=False)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_public_addresses_are_taken(address, monkeypatch):
    assert len(documented_rows()) > 20, "the page has the table of others"
    resolving_to(monkeypatch, address)
    url = "https://receiver.example:8443/hooks?a=b"
    assert public_addresses.resolve(url, allows_private=False) == [address]


def test_a_name_is_resolved_and_checked_each_time(monkeypatch):
    for address in ("93.184.216.34", "8.8.8.8"):
        resolving_to(monkeypatch, address)
        assert public_addresses.resolve("https://receiver.example/", allows_private=False) == [address]
    resolving_to(monkeypatch, "127.0.0.1")
    for _ in range(2):
        with pytest.raises(AddressRefused):
            public_addresses.resolve("https://receiver.example/", allows_private=False)
    assert public_addresses.resolve("http://receiver.example/", allows_private=True) == ["127.0.0.1"]
    for _ in range(2):
        with pytest.raises(AddressRefused, match="https"):
            public_addresses.resolve("http://receiver.example/", allows_private=False)


def test_a_name_that_is_not_known_is_refused(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(AddressRefused, match="not known"):
        public_addresses.resolve("https://receiver.example/", allows_private=False)


def send(url: str, address="127.0.0.1") -> Reply:
    return http_client.send_request("POST", url, headers={}, body=b"{}", seconds=5, address=address)


def test_each_connection_goes_to_the_checked_address_names_the_host_and_follows_no_redirect():
    """No resolver knows this name: it is not looked up a second time."""
    with receiving() as receiver, receiving() as inside:
        # An address in the URL itself is no way around the checked one.
        with pytest.raises(NoResponse):
            send(receiver.url, "127.0.0.2")
        assert receiver.requests == []
        url = f"http://receiver.invalid:{receiver.port}/hooks"
        assert send(url).status == 204
        assert receiver.requests[0].headers["host"] == f"receiver.invalid:{receiver.port}"
        # Nothing listens at this one, and the kept connection is to another.
        with pytest.raises(NoResponse):
            send(url, "::1")
        assert len(receiver.requests) == 1
        receiver.answer, receiver.location = lambda request: 307, inside.url
        assert send(url).status == 307
        assert inside.requests == []


def test_tls_names_the_host_to_the_checked_address():
    names = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda connection, name, _: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            client, _ = listener.accept()
            with client, pytest.raises(OSError):
                context.wrap_socket(client, server_side=True)

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://receiver.invalid:{listener.getsockname()[1]}/"
        with pytest.raises(NoResponse):
            send(url)
        thread.join(10)
    assert names == ["receiver.invalid"]


def test_slow_name_servers_hold_a_request_for_so_long_and_no_other_names(monkeypatch):
    answered, looked_up = threading.Event(), []

    def found(host, port, **_):
        looked_up.append(host)
        if host.startswith("slow"):
            answered.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]

    def check(host, caller):
        wait_until(lambda: len(looked_up) >= 2 or host.startswith("slow"))
        began_at = time.monotonic()
        with journal.acting(ActorContext(Actor.STAFF, caller)), suppress(Invalid):
            endpoints.check_url(f"https://{host}/")
            assert not host.startswith("slow")
        return time.monotonic() - began_at

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(endpoints, "LOOK_UP_SECONDS", 2.0)
    *slow, quick = race(
        [*[partial(check, f"slow-{n % 7}", 1) for n in range(14)], partial(check, "quick", 2)]
    )
    answered.set()

    assert quick < 1.8 < min(slow) < max(slow) < 6
    assert check("another", 1) < 1.8
    assert sum(host.startswith("slow") for host in looked_up) == 8
