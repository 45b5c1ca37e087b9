"""Bytes that are no right HTTP request, or hardly one: heads, bodies, lengths and pipelines, by a seed."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.fuzz.callers import Callers

PATHS = (
    *("/api/v1/orders", "/api/v1/coupons", "/api/v1/payments", "/api/v1/wallet/top-ups"),
    *("/api/v1/users", "/api/v1/auth/token", "/api/v1/auth/refresh", "/api/v1/campaigns"),
    *("/api/v1/products", "/api/v1/wallet/grants", "/api/v1/webhooks/simulator"),
    *("/api/v1/queue-tickets/x", "/api/v1/users/me", "/api/schema/", "/api/docs/"),
    *("/admin/login/", "/admin/", "/admin/board/", "/admin/jsi18n/", "/healthz", "/readyz"),
    *("/metrics", "/", "/static/admin/css/base.css"),
)
"""Of the API, of pages for operators, and of files: whatever answers without a session."""
METHODS = (
    *("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get"),
    *("P\x00ST", ""),
)
HEADERS = (
    *("Host", "Authorization", "Idempotency-Key", "Content-Type", "Content-Encoding", "Accept"),
    *("Accept-Encoding", "Accept-Language", "If-None-Match", "If-Modified-Since"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Request-ID"),
    *("traceparent", "tracestate", "baggage", "Cookie", "Origin", "Referer", "Expect", "Upgrade"),
    *("Connection", "TE", "Trailer", "Range", "X-CSRFToken", "Signature", "Stripe-Signature"),
    *("Gateway-Signature", "X-Signature", "User-Agent", "Date", "Last-Event-ID"),
)
VALUES = (
    *(b"", b" ", b"\x00", b"a\x00b", b"\xff\xfe", b"\xc3\x28", "\U0001f600".encode()),
    *(b"a\r\n b", b"a\rb", b"a\nb"),
    *(b"-1", b"0", b"9" * 30, b"1e999", b"NaN"),
    *(b"*", b"%00", b"%ff%fe", b"../" * 20, b'"', b"'--", b"{{7*7}}", b";,=;,="),
    *(b"a" * 300, b"a" * 9_000, b"a" * 70_000),
    *(b"Bearer ", b"Bearer a.b.c", b"Bearer " + b"." * 50, b"Bearer e30.e30.e30", b"Bearer \xff"),
    b"Basic !!",
    *(b"t=1,v1=00", b'W/"' + b"x" * 100, b"en;q=abc", b"ko," * 500, b"text/html;q=2, */*;q=-1"),
    *(b"chunked", b"gzip, gzip", b"100-continue", b"websocket, h2c", b"close, keep-alive", b"bytes=0-,5-1"),
    b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
    *(b"::1, 1.2.3.4.5, \xff", b"localhost:99999", b"[::1"),
    *(b"application/json; charset=nonsense", b"application/x-www-form-urlencoded"),
    *(b"multipart/form-data; boundary=", b"multipart/form-data; boundary=\xff"),
)
LENGTHS = (
    *(b"-1", b"+5", b"0x10", b"1.0", b"", b" ", b"5 5", b"5, 5", b"5, 6", b"\xb2", b"five", b"00000000005"),
    *(b"65537", b"1073741824", b"9" * 19, b"9" * 30, b"18446744073709551616"),
)
CHUNKS = (
    *(b"", b"-1\r\nabc\r\n", b"zz\r\nabc\r\n", b"0x3\r\nabc\r\n", b"ffffffffffffffffff\r\nabc\r\n"),
    *(b"3\r\nabcd\r\n", b"3\nabc\n", b" 3\r\nabc\r\n", b"3\r\nab", b"\x00\r\n", b"\xff\r\n\r\n"),
    *(b"3\r\nabc\r\n0\r\nA: b\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 500 + b"\r\n"),
    *(b"3;a=b;" + b"x" * 9_000 + b"\r\nabc\r\n", b"1\r\n{\r\n" * 200),
)
BODIES = (
    *(b"", b"null", b"[]", b"{", b"\x00", b"\xff\xfe{}", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"'"),
    *(b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b'{"a":1,"a":2}', b"{}" * 10, b'{"\x00":1}'),
    *(b"[" * 30_000, b'{"a":' * 10_000, b"9" * 5_000, b"{}" + b" " * 65_536),
    *(b"a=%00&b=%ff&a[]=1", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'),
)
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.1, 1e308),
    *("", " ", "\x00", "a\x00b", "\ud800", "\U0001f600", "a" * 300, "a" * 20_000, "\u202e", "%00"),
    *("1", "1e3", "٣", "NaN", [], {}, [[]], [None], {"": None}, "tok_ok"),
    *("2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59"),
)
"""For each field of the bodies in `SAMPLES`."""
SAMPLES: dict[str, dict[str, Any]] = {
    "/api/v1/orders": {
        "items": [{"product": 1, "quantity": 1}],
        "coupon": None,
        "points_amount": 0,
        "payment": {"token": "tok_ok"},
    },
    "/api/v1/coupons": {"campaign": 1},
    "/api/v1/payments": {"order": "x", "token": "tok_ok"},
    "/api/v1/wallet/top-ups": {"amount": 500, "token": "tok_ok"},
    "/api/v1/wallet/grants": {"user": 1, "amount": 5, "reason": "fuzz"},
    "/api/v1/users": {"username": "fuzz", "password": "a long enough passphrase"},
    "/api/v1/auth/token": {"username": "demo", "password": "x"},
    "/api/v1/auth/refresh": {"refresh": "a.b.c"},
    "/api/v1/campaigns": {
        "name": "Fuzz",
        "strategy": "group_commit",
        "quantity": 1,
        "discount": {"type": "amount", "value": 1},
    },
    "/api/v1/products": {"sku": "FUZZ", "name": "Fuzz", "price": 1},
}


@dataclass(frozen=True)
class RawRequest:
    """What is sent in pieces. `is_whole` when a server that reads to its end can answer at once."""

    kind: str
    pieces: list[bytes]
    is_whole: bool = True


def draw(source: random.Random, callers: Callers) -> RawRequest:
    """The next of a seeded series."""
    return source.choice(KINDS)(source, callers)


def _request_line(source: random.Random, callers: Callers) -> RawRequest:
    target = source.choice(PATHS).encode()
    target = source.choice(
        [
            target,
            b"",
            b"*",
            b"http://127.0.0.1" + target,
            b"//" + target,
            target + b"%00",
            target + b"/%ff/..",
            target + b"?" + b"a=1&" * 3_000,
            target + b"\x00",
            target + b" x",
            b"/" + b"a" * 70_000,
            target + b"?limit=\xff",
            target + b"?limit=-1&cursor=%00&user=99999999999999999999",
            target + b"?%00=%ff",
            b"\xff",
            b"http://[",
        ]
    )
    version = source.choice(
        [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"HTTP/2.0", b"", b"http/1.1", b"HTTP/1.1\x00"]
    )
    line = b" ".join([source.choice(METHODS).encode(), target, version])
    return RawRequest(
        "request line", [line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"], is_whole=False
    )


def _headers(source: random.Random, callers: Callers) -> RawRequest:
    odd = b"".join(
        source.choice(HEADERS).encode() + b": " + source.choice(VALUES) + b"\r\n"
        for _ in range(source.randint(1, 4))
    )
    odd += source.choice(
        [
            b"",
            b"",
            b"",
            b"No colon\r\n",
            b"Space : x\r\n",
            b": x\r\n",
            b"\x00: x\r\n",
            b" folded\r\n",
            b"A: b\r\n" * 1_500,
            b"B" * 5_000 + b": x\r\n",
            b"C\xff: x\r\n",
        ]
    )
    body = source.choice([b"", b"{}", b"null"])
    head = _head(source, callers, source.choice(METHODS[:7]), source.choice(PATHS), odd)
    return RawRequest("headers", [head + _length(body) + body], is_whole=False)


def _lengths(source: random.Random, callers: Callers) -> RawRequest:
    odd = b"".join(b"Content-Length: %b\r\n" % one for one in source.choices(LENGTHS, k=source.randint(1, 2)))
    odd += source.choice([b"", b"", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"])
    head = _head(source, callers, "POST", source.choice(PATHS), odd)
    return RawRequest("lengths", [head + b"\r\n", b"{}   "], is_whole=False)


def _chunks(source: random.Random, callers: Callers) -> RawRequest:
    odd = source.choice([b"chunked", b"chunked", b"chunked, chunked", b"Chunked", b"xchunked", b"identity"])
    head = _head(source, callers, "POST", source.choice(PATHS), b"Transfer-Encoding: %b\r\n" % odd)
    chunks = b"".join(source.choices(CHUNKS, k=source.randint(1, 3)))
    return RawRequest("chunks", [head + b"\r\n", chunks, b"0\r\n\r\n"], is_whole=False)


def _bodies(source: random.Random, callers: Callers) -> RawRequest:
    body = source.choice(BODIES)
    odd = b"Content-Type: %b\r\n" % source.choice(
        [
            b"application/json",
            b"application/json",
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=x",
            b"text/plain",
            b"application/json; charset=utf-16",
            b"",
        ]
    )
    head = _head(source, callers, source.choice(["POST", "PATCH", "GET"]), source.choice(PATHS), odd)
    return RawRequest("bodies", [head + _length(body), body])


def _fields(source: random.Random, callers: Callers) -> RawRequest:
    path = source.choice(list(SAMPLES))
    body = json.loads(json.dumps(SAMPLES[path]))
    places = list(_places(body))
    for holder, name in source.sample(places, source.randint(1, min(2, len(places)))):
        # A place inside of one that was replaced before is no part of the body any more.
        holder[name] = source.choice(ODD)
    sent = json.dumps(body).encode()
    key = b"Idempotency-Key: %x\r\n" % source.getrandbits(64)
    head = _head(source, callers, "POST", path, b"Content-Type: application/json\r\n" + key)
    return RawRequest("fields", [head + _length(sent) + sent])


def _unfinished(source: random.Random, callers: Callers) -> RawRequest:
    whole = _head(source, callers, "POST", source.choice(PATHS), b"Content-Length: 500\r\n") + b'\r\n{"a": '
    return RawRequest("unfinished", [whole[: source.randint(1, len(whole))]], is_whole=False)


def _pipeline(source: random.Random, callers: Callers) -> RawRequest:
    parts = []
    for _ in range(source.randint(2, 20)):
        body = source.choice([b"", b"{}", b"null", b"{"])
        headers = b"Content-Type: application/json\r\n"
        path = source.choice(PATHS)
        head = _head(source, callers, source.choice(["GET", "POST"]), path, headers, closes=False)
        parts.append(head + _length(body) + body)
    end = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    last = source.choice([end, end, b"\x00\xff\r\n\r\n" + end])
    return RawRequest("pipeline", [b"".join([*parts, last])])


KINDS: tuple[Callable[[random.Random, Callers], RawRequest], ...] = (
    *(_request_line, _headers, _headers, _lengths, _chunks, _bodies, _bodies),
    *(_fields, _fields, _fields, _unfinished, _pipeline),
)


def _head(
    source: random.Random, callers: Callers, method: str, path: str, more: bytes, *, closes: bool = True
) -> bytes:
    """A head without its end."""
    token = source.choice([*callers.tokens.values(), "a.b.c"])
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {token}"] * bool(token) + ["Connection: close"] * closes
    return "\r\n".join([*lines, ""]).encode() + more


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each holder and name of a value in the body, at any depth."""
    names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    own = [(value, name) for name in names]
    return own + [place for name in names for place in _places(value[name])]
