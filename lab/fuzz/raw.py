"""Bytes that are no right HTTP request, or hardly one: each connection must be answered or closed, and no
answer may be a 5xx. Odd fields of bodies are for the tests of the API's document."""

import random
import re
import socket
from collections.abc import Sequence
from contextlib import suppress

from lab.fuzz.findings import Findings
from scripts.stack import ports

ANSWER_SECONDS = 30.0
"""Bodies have 10 s to arrive; after that the shop answers 408 and lingers for 5 s."""
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)")
PATHS = b"""
/api/v1/orders /api/v1/coupons /api/v1/payments /api/v1/wallet/top-ups /api/v1/wallet/grants /api/v1/users
/api/v1/auth/token /api/v1/auth/refresh /api/v1/campaigns /api/v1/products /api/v1/webhooks/simulator
/api/v1/queue-tickets/x /api/v1/users/me /api/schema/ /api/docs/ /admin/login/ /admin/ /admin/board/
/admin/jsi18n/ /healthz /readyz /metrics / /static/admin/css/base.css
""".split()
"""Of the API, of pages for operators, and of files: whatever answers without a session."""
METHODS = b"GET POST PATCH PUT DELETE HEAD OPTIONS".split()
BEFORE = (b"http://127.0.0.1", b"//")
AFTER = (
    *(b"%00", b"/%ff/..", b"?" + b"a=1&" * 3_000, b"\x00", b" x", b"?limit=\xff", b"?%00=%ff"),
    b"?limit=-1&cursor=%00&user=99999999999999999999",
)
HEADERS = b"""
Host Authorization Idempotency-Key Content-Type Content-Encoding Accept TE Date Accept-Encoding
Accept-Language If-None-Match If-Modified-Since Range User-Agent X-Forwarded-For X-Forwarded-Proto
X-Forwarded-Host Forwarded X-Request-ID traceparent tracestate baggage Cookie Origin Referer Expect Upgrade
Connection Trailer X-CSRFToken Signature Stripe-Signature Gateway-Signature X-Signature Last-Event-ID
""".split()
VALUES = (
    *(b"", b" ", b"\x00", b"a\x00b", b"\xff\xfe", b"\xc3\x28", "\U0001f600".encode()),
    *(b"a\r\n b", b"a\rb", b"a\nb", b"-1", b"0", b"9" * 30, b"1e999", b"NaN"),
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
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
NO_HTTP = (
    *(b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    *(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    *(POST + b"Bad Name: x\r\n\r\n", POST + b"Content-Length: -1\r\n\r\n"),
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
    *(POST + b"Transfer-Encoding%b: %bchunked\r\n\r\n0\r\n\r\n" % odd for odd in ((b"", b"x"), (b" ", b""))),
    *(POST + b"Transfer-Encoding: chunked\r\n\r\n" + odd for odd in (b"not a size\r\n", b"3\nabc\n0\n\n")),
)
"""What a server has to refuse, because a proxy may read other requests in it. More of HTTP's own grammar is
for the tests of uvicorn and its parser."""
WHOLE = "bodies"
"""The kind of requests that a server that reads to their end can answer at once."""
KINDS = ("no HTTP", "address", "unfinished", *("headers", WHOLE) * 2)


def draw(chance: random.Random, tokens: Sequence[str]) -> tuple[str, bytes]:
    """A raw request and its kind, with one of the tokens or none."""
    kind, path, token = chance.choice(KINDS), chance.choice(PATHS), chance.choice(tokens)
    more = body = b""
    if kind == "no HTTP":
        return kind, chance.choice(NO_HTTP)
    if kind == "address":
        path = chance.choice([*(part + path for part in BEFORE), *(path + part for part in AFTER)])
    elif kind == "headers":
        names, body = chance.choices(HEADERS, k=chance.randint(1, 4)), chance.choice([b"", b"{}", b"null"])
        more = b"".join(b"%b: %b\r\n" % (name, chance.choice(VALUES)) for name in names)
    else:
        body = chance.choice(BODIES) if kind == WHOLE else b'{"a": 1}' * 60
        more = b"Content-Type: %b\r\n" % chance.choice(TYPES)
    more += b"Authorization: Bearer %b\r\n" % token.encode() if token else b""
    head = b"%b %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % (chance.choice(METHODS), path)
    request = b"%b%bContent-Length: %d\r\n\r\n%b" % (head, more, len(body), body)
    return kind, request[: chance.randrange(1, len(request)) if kind == "unfinished" else None]


def send(port: int, kind: str, request: bytes, findings: Findings, detail: str) -> None:
    """Send it on a connection of its own, and record what comes until the shop closes: a 5xx, nothing at all,
    or a whole request without an answer, is a finding."""
    received = b""
    with socket.create_connection((ports.HOST, port), timeout=ANSWER_SECONDS) as connection:
        # A server that refuses may close before it has everything. What waits for the rest of a head is the
        # proxy's to end, and none is here.
        with suppress(OSError):
            connection.sendall(request)
            if b"\r\n\r\n" not in request:
                connection.shutdown(socket.SHUT_WR)
        try:
            while got := connection.recv(65_536):
                received += got
                # One that stays open after an answer, as keep-alive may, is left.
                connection.settimeout(ANSWER_SECONDS if kind == WHOLE else 1.0)
        except TimeoutError:
            if not received:
                findings.record(f"{kind} had neither an answer nor an end in {ANSWER_SECONDS:.0f} s", detail)
                return
        except ConnectionResetError:
            pass
    answers = STATUS.findall(received)
    if not answers:
        findings.count("raw closed", 0.0)
        if kind == WHOLE:
            findings.record(f"{kind} were not answered", f"{received[:200]!r} {detail}")
    for status, head in answers:
        if kind == "no HTTP" and int(status) < 400:
            findings.record(f"no HTTP was answered {int(status)}", detail)
        findings.judge("raw", kind, int(status), head.decode("latin-1"), f"{detail} said {received[-300:]!r}")


def send_odd(
    port: int, chance: random.Random, tokens: Sequence[str], findings: Findings, detail: str
) -> None:
    kind, request = draw(chance, tokens)
    send(port, kind, request, findings, f"{detail} {request[:600]!r}")
