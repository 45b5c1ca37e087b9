"""Bytes that are no right HTTP request, or hardly one: each connection must be answered or closed, and no
answer may be a 5xx. And what a fuzz finds."""

import contextlib
import copy
import json
import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from lab.calls import Observations
from scripts.stack import ports

ANSWER_SECONDS = 30.0
"""Bodies have 10 s to arrive; after that the shop answers 408 and lingers for 5 s."""
PIECE_SECONDS = 0.01
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)")
LARGEST = 4 * 1024 * 1024
SAMPLES: dict[str, Any] = {
    "/api/v1/orders": {"items": [{"product": 1, "quantity": 1}], "coupon": None, "points_amount": 0}
    | {"payment": {"token": "tok_ok"}},
    "/api/v1/coupons": {"campaign": 1},
    "/api/v1/payments": {"order": "x", "token": "tok_ok"},
    "/api/v1/wallet/top-ups": {"amount": 500, "token": "tok_ok"},
    "/api/v1/wallet/grants": {"user": 1, "amount": 5, "reason": "fuzz"},
    "/api/v1/users": {"username": "fuzz", "password": "a long enough passphrase"},
    "/api/v1/auth/token": {"username": "demo", "password": "x"},
    "/api/v1/auth/refresh": {"refresh": "a.b.c"},
    "/api/v1/campaigns": {"name": "Fuzz", "strategy": "group_commit", "quantity": 1}
    | {"discount": {"type": "amount", "value": 1}},
    "/api/v1/products": {"sku": "FUZZ", "name": "Fuzz", "price": 1},
}
"""Bodies by their paths, each field of which is replaced."""
ODD_FIELDS: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.1, 1e308),
    *("", " ", "\x00", "a\x00b", "\ud800", "\U0001f600", "a" * 300, "a" * 20_000, "\u202e", "%00"),
    *("1", "1e3", "٣", "NaN", [], {}, [[]], [None], {"": None}, "tok_ok"),
    *("2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59"),
)
PATHS = (
    *SAMPLES,
    *("/api/v1/webhooks/simulator", "/api/v1/queue-tickets/x", "/api/v1/users/me", "/api/schema/"),
    *("/api/docs/", "/admin/login/", "/admin/", "/admin/board/", "/admin/jsi18n/", "/healthz", "/readyz"),
    *("/metrics", "/", "/static/admin/css/base.css"),
)
"""Of the API, of pages for operators, and of files: whatever answers without a session."""
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS")
BEFORE = (b"http://127.0.0.1", b"//")
AFTER = (
    *(b"%00", b"/%ff/..", b"?" + b"a=1&" * 3_000, b"\x00", b" x", b"?limit=\xff", b"?%00=%ff"),
    b"?limit=-1&cursor=%00&user=99999999999999999999",
)
HEADERS = (
    *("Host", "Authorization", "Idempotency-Key", "Content-Type", "Content-Encoding", "Accept", "TE", "Date"),
    *("Accept-Encoding", "Accept-Language", "If-None-Match", "If-Modified-Since", "Range", "User-Agent"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Request-ID", "traceparent"),
    *("tracestate", "baggage", "Cookie", "Origin", "Referer", "Expect", "Upgrade", "Connection", "Trailer"),
    *("X-CSRFToken", "Signature", "Stripe-Signature", "Gateway-Signature", "X-Signature", "Last-Event-ID"),
)
VALUES = (
    *(b"", b" ", b"\x00", b"a\x00b", b"\xff\xfe", b"\xc3\x28", "\U0001f600".encode()),
    *(b"a\r\n b", b"a\rb", b"a\nb"),
    *(b"-1", b"0", b"9" * 30, b"1e999", b"NaN"),
    *(b"*", b"%00", b"%ff%fe", b"../" * 20, b'"', b"'--", b"{{7*7}}", b";,=;,="),
    *(b"a" * 300, b"a" * 9_000, b"a" * 70_000),
    *(b"Bearer ", b"Bearer a.b.c", b"Bearer " + b"." * 50, b"Bearer e30.e30.e30", b"Bearer \xff"),
    *(b"Basic !!", b"t=1,v1=00", b'W/"' + b"x" * 100, b"en;q=abc", b"ko," * 500, b"text/html;q=2, */*;q=-1"),
    *(b"chunked", b"gzip, gzip", b"100-continue", b"websocket, h2c", b"close, keep-alive", b"bytes=0-,5-1"),
    *(b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"::1, 1.2.3.4.5, \xff", b"localhost:99999", b"[::1"),
    *(b"application/json; charset=nonsense", b"application/x-www-form-urlencoded"),
    *(b"multipart/form-data; boundary=", b"multipart/form-data; boundary=\xff"),
)
BODIES = (
    *(b"", b"null", b"[]", b"{", b"\x00", b"\xff\xfe{}", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"'"),
    *(b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b'{"a":1,"a":2}', b"{}" * 10, b'{"\x00":1}'),
    *(b"[" * 30_000, b'{"a":' * 10_000, b"9" * 5_000, b"{}" + b" " * 65_536),
    *(b"a=%00&b=%ff&a[]=1", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'),
)
TYPES = (
    *(b"application/json", b"application/json", b"application/x-www-form-urlencoded", b"text/plain", b""),
    *(b"multipart/form-data; boundary=x", b"application/json; charset=utf-16"),
)
NO_HTTP = (
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
)
"""What a server has to refuse, because a proxy may read other requests in it. More of HTTP's own grammar is
for the tests of uvicorn and its parser."""
WHOLE = ("bodies", "fields")
"""Kinds of requests that a server that reads to their end can answer at once."""
KINDS = ("no HTTP", "address", "unfinished", *("headers", "bodies") * 2, *("fields",) * 3)


@dataclass
class Findings(Observations):
    """Of the findings of a kind only the first is recorded."""

    kinds: list[str] = field(default_factory=list)

    def record(self, kind: str, detail: str) -> None:
        with self.mutex:
            is_new = kind not in self.kinds
            self.kinds += [kind] * is_new
        if is_new:
            self.record_finding(f"{kind}: {detail}")

    def judge(self, source: str, asked: str, status: int, head: str, detail: str) -> None:
        """Count an answer. 500 and more is a failure, but for a 503 that says when to come back."""
        self.count(f"{source} {status}", 0.0)
        says_when = status == 503 and re.search(r"(?i)retry-after\W+\d", head)
        if status >= 500 and not says_when:
            self.record(f"{asked} answered {status}", detail)

    def answer(self, source: str, asked: str, detail: str, ask: Callable[[], Any]) -> Any:
        """The response that `ask` gets, judged; None for none, which is a failure."""
        try:
            answer = ask()
        except (requests.exceptions.InvalidHeader, UnicodeError):
            self.count(f"{source} not sendable", 0.0)
            return None
        except requests.RequestException as error:
            self.record(f"{asked} was not answered", f"{error!r} {detail}")
            return None
        said = f" said {answer.text[:300]}" if answer.status_code >= 500 else ""
        self.judge(source, asked, answer.status_code, str(dict(answer.headers)), detail + said)
        return answer


def draw(chance: random.Random, tokens: Sequence[str]) -> tuple[str, list[bytes]]:
    """A raw request's kind and pieces, with one of the tokens or none."""
    one, some, few, kind = chance.choice, chance.choices, chance.randint, chance.choice(KINDS)

    def head(method: str, more: bytes, path: bytes = b"") -> bytes:
        """A head without its end."""
        token, path = one(tokens), path or one(PATHS).encode()
        lines = [b"%b %b HTTP/1.1" % (method.encode(), path), b"Host: localhost", b"Connection: close"]
        lines += [f"Authorization: Bearer {token}".encode()] * bool(token)
        return b"\r\n".join([*lines, more])

    def whole(method: str, body: bytes, more: bytes, path: bytes = b"") -> bytes:
        return head(method, b"%bContent-Length: %d\r\n\r\n" % (more, len(body)), path) + body

    match kind:
        case "no HTTP":
            pieces = [one(NO_HTTP)]
        case "address":
            plain = one(PATHS).encode()
            target = one([*(part + plain for part in BEFORE), *(plain + part for part in AFTER)])
            pieces = [head(one(METHODS), b"\r\n", target)]
        case "headers":
            odd = b"".join(
                b"%b: %b\r\n" % (name.encode(), one(VALUES)) for name in some(HEADERS, k=few(1, 4))
            )
            pieces = [whole(one(METHODS), one([b"", b"{}", b"null"]), odd)]
        case "bodies":
            more, body = b"Content-Type: %b\r\n" % one(TYPES), one(BODIES)
            request = whole(one(["POST", "PATCH", "GET"]), body, more)
            pieces = [request.removesuffix(body), body]
        case "fields":
            path = one([*SAMPLES])
            content = copy.deepcopy(SAMPLES[path])
            places = list(_places(content))
            for holder, name in chance.sample(places, few(1, min(2, len(places)))):
                # A place inside of one that was replaced before is no part of the body any more.
                holder[name] = one(ODD_FIELDS)
            more = b"Content-Type: application/json\r\nIdempotency-Key: %x\r\n" % chance.getrandbits(64)
            pieces = [whole("POST", json.dumps(content).encode(), more, path.encode())]
        case _:
            request = head("POST", b'Content-Length: 500\r\n\r\n{"a": ')
            pieces = [request[: few(1, len(request))]]
    return kind, pieces


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each holder and name of a value in the body, at any depth."""
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield value, name
            yield from _places(value[name])


def send_until(ends_at: float, port: int, tokens: Sequence[str], findings: Findings, seed: str) -> int:
    """One connection after the other until that moment of the monotonic clock; how many there were."""
    chance, number = random.Random(seed), 0
    while time.monotonic() < ends_at:
        (kind, pieces), number = draw(chance, tokens), number + 1
        detail = f"SEED {seed!r} number {number} {b''.join(pieces)[:600]!r}"
        send_one(port, kind, pieces, detail, findings, ends_half=chance.random() < 0.5)
    return number


def send_one(
    port: int, kind: str, pieces: Sequence[bytes], detail: str, findings: Findings, *, ends_half: bool
) -> None:
    """Send it on a connection of its own, and record what comes until the shop closes: a 5xx, nothing at all,
    or a whole request without an answer, is a finding."""
    received, is_whole = b"", kind in WHOLE
    # What waits for the rest of a head is the proxy's to end, and none is here.
    has_head = b"\r\n\r\n" in b"".join(pieces)
    try:
        with socket.create_connection((ports.HOST, port), timeout=ANSWER_SECONDS) as connection:
            # A server that refuses may close before it has everything.
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(PIECE_SECONDS)
            if not is_whole and (ends_half or not has_head):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while len(received) < LARGEST and (got := connection.recv(65_536)):
                    received += got
                    # One that stays open after an answer, as keep-alive may, is left.
                    connection.settimeout(ANSWER_SECONDS if is_whole else 1.0)
    except ConnectionRefusedError:
        findings.record("the shop takes no connection", detail)
        return
    except TimeoutError:
        if not received:
            findings.record(f"{kind}: neither an answer nor an end in {ANSWER_SECONDS:.0f} s", detail)
            return
    answers = STATUS.findall(received)
    if not answers:
        findings.count("raw closed", 0.0)
        if is_whole:
            findings.record(f"{kind}: closed without an answer", f"{received[:200]!r} {detail}")
    for status, head in answers:
        if kind == "no HTTP" and int(status) < 400:
            findings.record(f"no HTTP was answered {int(status)}", detail)
        findings.judge("raw", kind, int(status), head.decode("latin-1"), f"{detail} said {received[-300:]!r}")
