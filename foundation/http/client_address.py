"""The network address of a request's client."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest

from foundation.errors import Invalid
from foundation.http.messages import Request

FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
# The headers that proxies add to a request.
PROXY_HEADERS = {
    FORWARDED_FOR,
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
}


class AddressUnknown(Invalid):
    """`X-Forwarded-For` has fewer readable addresses than `TRUSTED_PROXIES` requires."""

    def __init__(self) -> None:
        detail = (
            "The client's address can't be read: "
            "each proxy in front must append an address to `X-Forwarded-For`."
        )
        super().__init__(detail, errors=[{"field": "X-Forwarded-For", "code": "invalid", "detail": detail}])


def from_request(request: HttpRequest | Request) -> str:
    if isinstance(request, HttpRequest):
        return choose(request.META.get("REMOTE_ADDR", ""), request.META.get(FORWARDED_FOR, ""))
    return choose(request.peer, request.header("X-Forwarded-For") or "")


def choose(peer: str, forwarded: str) -> str:
    """Return the client's address: behind n proxies the n-th from the right of `X-Forwarded-For`.

    Each proxy appends the address of its peer; addresses further left are unverified claims of the client.
    Raises `AddressUnknown` if one of these n is missing or not an address: the proxy's address in its place
    would be shared by all clients.
    """
    if settings.TRUSTED_PROXIES < 1:
        return _normalize_address(peer) or peer
    appended = [_normalize_address(hop) for hop in forwarded.split(",")[-settings.TRUSTED_PROXIES :]]
    if len(appended) < settings.TRUSTED_PROXIES or not all(appended):
        raise AddressUnknown
    return appended[0]


def is_local(request: HttpRequest) -> bool:
    """Whether the request comes from this machine; always False behind proxies, configured or not."""
    if settings.TRUSTED_PROXIES > 0 or PROXY_HEADERS & request.META.keys():
        return False
    address = _normalize_address(from_request(request))
    return bool(address) and ip_address(address).is_loopback


def _normalize_address(text: str) -> str:
    """Return the address in its canonical form, or "" if it is not an address."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)
