"""Where a request comes from."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest

from shop.calls import Request


def of(request: HttpRequest | Request) -> str:
    """The client's address.

    Behind `TRUSTED_PROXIES` = n proxies it is the n-th from the right of `X-Forwarded-For`: each proxy
    appends whom it heard from, and what stands further left is only what the client claims.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    if settings.TRUSTED_PROXIES < 1:
        return _plain(peer) or peer
    hops = str(request.META.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    claimed = hops[-settings.TRUSTED_PROXIES] if len(hops) >= settings.TRUSTED_PROXIES else ""
    return _plain(claimed) or _plain(peer) or peer


def is_local(request: HttpRequest) -> bool:
    """Whether it comes from this machine, and was not handed on by a proxy that nobody told us of."""
    if settings.TRUSTED_PROXIES < 1 and {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"} & request.META.keys():
        return False
    address = _plain(of(request))
    return bool(address) and ip_address(address).is_loopback


def _plain(text: str) -> str:
    """An address in its one spelling, or nothing when it is none."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
