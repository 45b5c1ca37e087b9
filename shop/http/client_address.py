"""Where a request comes from."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest

from shop.errors import Invalid
from shop.http.views import Request

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
# Whatever a proxy adds to what it hands on, under any of its usual names.
PROXY_HEADERS = {
    FORWARDED_FOR,
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
}


class AddressUnknown(Invalid):
    """Fewer proxies than `TRUSTED_PROXIES` says have left a hop that can be read."""

    def __init__(self) -> None:
        detail = (
            "The address that this call comes from can't be read: "
            "each proxy in front must append an address to `X-Forwarded-For`."
        )
        wrong = {"field": "X-Forwarded-For", "code": "invalid", "detail": detail}
        super().__init__(detail, errors=[wrong])


def from_request(request: HttpRequest | Request) -> str:
    """The client's address.

    Behind `TRUSTED_PROXIES` = n proxies it is the n-th from the right of `X-Forwarded-For`: each proxy
    appends the address that it was called from, and what stands further left is only what the client claims.
    Raises `AddressUnknown` when one of these n is missing or no address: the proxy's own address in its place
    would be shared by all clients, and mean nothing.
    """
    if isinstance(request, Request):
        peer, forwarded = request.peer, request.header("X-Forwarded-For") or ""
    else:
        peer, forwarded = request.META.get("REMOTE_ADDR", ""), request.META.get(FORWARDED_FOR, "")
    if settings.TRUSTED_PROXIES < 1:
        return _normalize_address(peer) or peer
    hops = forwarded.split(",")[-settings.TRUSTED_PROXIES :]
    appended = [_normalize_address(hop) for hop in hops]
    if len(appended) < settings.TRUSTED_PROXIES or not all(appended):
        raise AddressUnknown
    return appended[0]


def is_local(request: HttpRequest) -> bool:
    """Whether it comes from this machine itself: never where there are proxies, announced or not."""
    if settings.TRUSTED_PROXIES > 0 or PROXY_HEADERS & request.META.keys():
        return False
    address = _normalize_address(from_request(request))
    return bool(address) and ip_address(address).is_loopback


def _normalize_address(text: str) -> str:
    """An address in its one spelling, or nothing when it is none."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
