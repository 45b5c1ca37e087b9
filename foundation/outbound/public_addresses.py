"""Which addresses a URL of others may lead to: public ones alone, checked after the name is resolved.

A name that resolves to a public address when it is registered may resolve to `127.0.0.1` later, so the caller
resolves and checks before each call, and connects to the very address that was checked.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit, urlunsplit

LONGEST_URL = 500
# Resolvers take numbers in other forms than four decimal ones as addresses too: `0x7f.1`, `2130706433`.
NUMERIC = re.compile(r"(.*\.)?(0[xX][0-9a-fA-F]*|[0-9]+)\.?")
NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")
LITERAL = re.compile(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")
DOTTED = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){3}")
REFUSED_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (
            # Of protocols, Oracle's metadata among them; and relays of 6to4.
            "192.0.0.0/24",
            "192.88.99.0/24",
            # Azure's own services for a virtual machine, at a public address.
            "168.63.129.16/32",
            # They embed an IPv4 address, which may be any: Teredo, 6to4.
            "2001::/32",
            "2002::/16",
            # Documentation.
            "3fff::/20",
        ),
    )
)
"""Beside what `is_global` and `is_multicast` refuse."""
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""What IPv6 has for addresses of the internet. NAT64, site-local and all that is not assigned are outside."""
NOT_PUBLIC = "its host is not known, or has an address that is not public"
"""One text for both, so that a refusal tells nothing of names inside the shop's network."""

HIDDEN = "***"
LIKE_A_KEY = re.compile(r"[\w.~%-]{16,}")
"""A part of a path, longer than its words are."""


class AddressRefused(ValueError):
    """The URL is not one that may be called; the message says why."""


def check_url(url: str, *, allows_private: bool) -> None:
    """Check the form of a URL: https with a host name, and neither a user nor a fragment.

    With `allows_private` http too. Raises `AddressRefused`. The host's addresses are for `resolve`.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError:
        raise AddressRefused("it is not a URL") from None
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise AddressRefused(f"it must be {LONGEST_URL} printable ASCII characters at most")
    if parts.scheme != "https" and not (allows_private and parts.scheme == "http"):
        raise AddressRefused("it must begin with https://")
    if not host or port == 0:
        raise AddressRefused("it has no host")
    if not NAME.fullmatch(host) and not LITERAL.fullmatch(host):
        raise AddressRefused("its host has other characters than letters, digits, '.', '-' and '_'")
    if NUMERIC.fullmatch(host) and not DOTTED.fullmatch(host):
        raise AddressRefused("its host is a number")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("it must have neither a user nor a password")
    if parts.fragment or "#" in url:
        raise AddressRefused("it must have no fragment")


def shown(url: str) -> str:
    """The URL for lists and pages: without what may be a key in its user, path and query."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    query = re.sub(r"[^&]+", lambda pair: re.sub(r"^([^=]*=)?.+", rf"\1{HIDDEN}", pair[0]), parts.query)
    path = LIKE_A_KEY.sub(HIDDEN, parts.path)
    return urlunsplit((parts.scheme, f"{user and HIDDEN}{at}{host}", path, query, ""))


def resolve(url: str, *, allows_private: bool) -> list[str]:
    """The addresses of the URL's host, as the resolver orders them; all must be public. Raises
    `AddressRefused`.
    """
    check_url(url, allows_private=allows_private)
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(NOT_PUBLIC) from None
    addresses = [str(address[0]) for *_, address in found]
    for address in addresses:
        if not allows_private and not is_public(address):
            raise AddressRefused(NOT_PUBLIC)
    return list(dict.fromkeys(addresses))


def is_public(address: str) -> bool:
    """Whether it is an address of the internet at large."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    is_refused = any(ip in network for network in REFUSED_NETWORKS if network.version == ip.version)
    is_assigned = ip.version == 4 or ip in GLOBAL_UNICAST
    return ip.is_global and is_assigned and not ip.is_multicast and not is_refused
