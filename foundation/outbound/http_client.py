"""HTTP calls to other systems, whose replies may be late, wrong or hostile: bounded in time and size.

It uses libcurl, which has one deadline for a whole exchange. Connections are kept for the next call of any
thread to the same host and address.
"""

import select
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import pycurl
from django.utils.datastructures import CaseInsensitiveMapping

from foundation.db import open_transaction
from foundation.observability import tracing

LARGEST_RESPONSE_BYTES = 4 * 2**20
NO_SOCKET = -1
MOST_IDLE = 128
"""Kept connections; beyond it the one that has rested the longest is closed."""
IDLE_SECONDS = 60.0
"""After which a kept connection is closed, with the next call to anywhere; libcurl's own limit is 118 s."""
# An empty header removes the one that libcurl would add; the caller's header of that name is still sent.
FIXED_HEADERS = ["Expect:", "Accept:", "Content-Type:", "Accept-Encoding: identity"]
FIXED_OPTIONS: dict[int, Any] = {
    pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
    pycurl.PATH_AS_IS: 1,
    # Each connection looks its host up: libcurl would keep an address for a minute after a host has moved.
    pycurl.DNS_CACHE_TIMEOUT: 0,
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
    # Empty: no proxy from the environment, and no `User-Agent`. Signals are for the main thread only.
    pycurl.PROXY: "",
    pycurl.USERAGENT: "",
    pycurl.NOSIGNAL: 1,
}

Destination = tuple[str, str, str]
"""Scheme, host with port, and the address that is asked for, if one is."""


class NoResponse(Exception):
    """No whole reply was received; whether the request arrived is unknown. The message says what happened."""

    def __init__(self, message: str, *, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.is_timeout = is_timeout
        """Whether the exchange took all of its time."""


class NotConnected(NoResponse):
    """No connection could be opened: the request was not sent."""


class ResponseTooLarge(Exception):
    """The reply is longer than the caller takes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply with any status; `head` has the lines of its headers."""

    status: int
    head: Sequence[bytes]
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        lines = (line.decode("latin-1").partition(":") for line in self.head)
        return CaseInsensitiveMapping({name: value.strip() for name, separator, value in lines if separator})


_mutex = threading.Lock()
_idle: list[tuple[Destination, pycurl.Curl, float]] = []
"""The handles of libcurl that no exchange has, the one that was used last at the end."""


@dataclass(slots=True)
class _Exchange:
    """The state of one exchange, which libcurl's callbacks collect.

    `head` has the lines before the body, those of interim replies first, and of trailers.
    """

    address: str
    most_bytes: int
    is_sent: bool = False
    head: list[bytes] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    def before_request(self, connected_to: str, *_others: object) -> int:
        """Let the request be sent once, though libcurl sends it again when a kept connection breaks, and to
        no other address than those that were asked for.
        """
        asked_for = [ip_address(one) for one in self.address.split(",") if one]
        is_asked_for = not asked_for or ip_address(connected_to) in asked_for
        if self.is_sent or not is_asked_for:
            return int(pycurl.PREREQFUNC_ABORT)
        self.is_sent = True
        return int(pycurl.PREREQFUNC_OK)

    def header_lines(self) -> list[bytes]:
        """The lines of the final reply's headers. Raises `NoResponse` if the empty line after them is
        missing: libcurl takes a reply that is cut there for one without a body.
        """
        begins = [index for index, line in enumerate(self.head) if line.startswith(b"HTTP/")]
        lines = self.head[begins[-1] + 1 :] if begins else []
        if b"\r\n" not in lines and b"\n" not in lines:
            raise NoResponse("the reply was cut in its headers")
        return lines

    def add_body(self, data: bytes) -> int:
        """Add a part of the body; returning 0 ends the exchange."""
        self.body += data
        return len(data) if len(self.body) <= self.most_bytes else 0

    def to_exception(self, error: pycurl.error) -> NoResponse | ResponseTooLarge:
        """The exception for an exchange that libcurl ended with this error."""
        code, message = error.args
        is_timeout = code == pycurl.E_OPERATION_TIMEDOUT
        if not self.is_sent:
            return NotConnected("no connection", is_timeout=is_timeout)
        if len(self.body) > self.most_bytes:
            return ResponseTooLarge("the reply is too large")
        if is_timeout:
            return NoResponse("no whole reply in time" if self.body else "no reply in time", is_timeout=True)
        if code == pycurl.E_ABORTED_BY_CALLBACK:
            return NoResponse("a kept connection broke")
        return NoResponse(f"the connection broke: {message}")


def send_request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    seconds: float,
    passes_trace: bool = False,
    address: str = "",
    most_bytes: int = LARGEST_RESPONSE_BYTES,
) -> Reply:
    """Send one request and read its whole reply within `seconds`.

    Raises `NoResponse`, or `ResponseTooLarge` for a body of more than `most_bytes`, 4 MiB unless given.

    One deadline holds for the lookup of the host's name, connecting, TLS, sending, headers and body. There
    are no retries: the caller decides, because it knows the idempotency key. Redirects are not followed, and
    a compressed body is returned undecoded. `passes_trace` is for systems of the operator's own: the trace
    that is under way, if any, is passed on in `traceparent`. With `address` the connection is to that IP
    address, or to the first of several, between commas, that can be connected to, and TLS and `Host` name the
    URL's host all the same: nothing is looked up.
    """
    open_transaction.assert_outside()
    parts = urlsplit(url)
    exchange = _Exchange(address, most_bytes)
    with tracing.span(method, _attributes(method, parts) if tracing.is_on else None, kind="client"):
        if passes_trace:
            headers = {**headers, **tracing.headers()}
        destination = parts.scheme, parts.netloc, address
        curl = _handle(destination)
        for option, value in _options(method, url, exchange, headers, body, seconds).items():
            curl.setopt(option, value)
        try:
            curl.perform()
            status = curl.getinfo(pycurl.RESPONSE_CODE)
        except pycurl.error as error:
            raise exchange.to_exception(error) from error
        finally:
            _keep(destination, curl)
        reply = Reply(status, exchange.header_lines(), bytes(exchange.body))
        tracing.record_response(reply.status, fails_from=400)
        return reply


def _attributes(method: str, parts: SplitResult) -> dict[str, str | int]:
    """What the span of a call records: not the query, which may have keys."""
    return {
        "http.request.method": method,
        "url.full": f"{parts.scheme}://{parts.hostname}:{_port(parts)}{parts.path}",
        "server.address": parts.hostname or "",
        "server.port": _port(parts),
    }


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _options(
    method: str, url: str, exchange: _Exchange, headers: Mapping[str, str], body: bytes | None, seconds: float
) -> dict[int, Any]:
    parts = urlsplit(url)
    options = FIXED_OPTIONS | _trusted_certificates()
    options |= {
        pycurl.URL: url,
        pycurl.HTTPHEADER: FIXED_HEADERS + [_to_line(name, value) for name, value in headers.items()],
        pycurl.TIMEOUT_MS: max(1, round(seconds * 1000)),
        pycurl.PREREQFUNCTION: exchange.before_request,
        # Called for each line, and waits for the interpreter's lock each time: no function of Python's.
        pycurl.HEADERFUNCTION: exchange.head.append,
        pycurl.WRITEFUNCTION: exchange.add_body,
    }
    if exchange.address and ":" not in (parts.hostname or ""):
        # A host that is an IPv6 address is connected to without a look-up.
        literals = [f"[{one}]" if ":" in one else one for one in exchange.address.split(",")]
        options[pycurl.RESOLVE] = [f"{parts.hostname}:{_port(parts)}:{','.join(literals)}"]
    if method != "GET":
        options |= {pycurl.POSTFIELDS: body or b"", pycurl.CUSTOMREQUEST: method}
    return options


def _handle(destination: Destination) -> pycurl.Curl:
    """A handle without options: with a kept connection to the host at this very address, if one is usable."""
    while curl := _take(destination):
        if not _is_readable(curl):
            curl.reset()
            return curl
        curl.close()
    return pycurl.Curl()


def _take(destination: Destination) -> pycurl.Curl | None:
    """The one with a connection to there that was used last. No other thread has it until it is kept."""
    with _mutex:
        for index in reversed(range(len(_idle))):
            if _idle[index][0] == destination:
                return _idle.pop(index)[1]
    return None


def _keep(destination: Destination, curl: pycurl.Curl) -> None:
    """Let any thread take it. Those that have rested for long, or are too many, are closed."""
    now = time.monotonic()
    with _mutex:
        _idle.append((destination, curl, now))
        rested = sum(now - used_at > IDLE_SECONDS for _, _, used_at in _idle)
        del _idle[: max(rested, len(_idle) - MOST_IDLE)]


def _is_readable(curl: pycurl.Curl) -> bool:
    """Whether it has data to read, as at its end: libcurl itself looks once a second (curl/curl#22169)."""
    kept = curl.getinfo(pycurl.ACTIVESOCKET)
    if kept == NO_SOCKET:
        return False
    poll = select.poll()
    poll.register(kept, select.POLLIN)
    return bool(poll.poll(0))


def _to_line(name: str, value: str) -> bytes:
    """A header as it is sent; libcurl would send a line break as well."""
    if "\n" in value or "\r" in value:
        raise ValueError(f"the value of the header {name} has a line break")
    return f"{name}: {value}".encode("latin-1")


@cache
def _trusted_certificates() -> dict[int, str]:
    """Where this system keeps its trusted certificates: the wheel's libcurl knows another system's places."""
    paths = ssl.get_default_verify_paths()
    found = {pycurl.CAINFO: paths.cafile, pycurl.CAPATH: paths.capath}
    return {option: path for option, path in found.items() if path}
