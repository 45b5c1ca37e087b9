"""What is no right request, or hardly one, nor a right field of a form."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Parts of raw requests. One that is here twice is drawn twice as often."""

    paths: Sequence[bytes]  # of the API, of pages for operators, and of files: what needs no session
    headers: Sequence[bytes]  # names, each sent with one of the values
    methods: Sequence[bytes]
    before_path: Sequence[bytes]
    after_path: Sequence[bytes]
    values: Sequence[bytes]
    bodies: Sequence[bytes]
    types: Sequence[bytes]  # of Content-Type
    # What a server has to refuse, because a proxy may read other requests in it. More of HTTP's own grammar
    # is for the tests of uvicorn and its parser.
    no_http: Sequence[bytes]


@dataclass(frozen=True, kw_only=True)
class Forms:
    """What an operator sends."""

    not_sent: str  # XPath of what a browser doesn't send of a form that nobody has changed
    values: Sequence[str]  # of fields
    files: Sequence[bytes]


REQUESTS = Requests(
    paths=[
        b"/api/v1/orders",
        b"/api/v1/coupons",
        b"/api/v1/payments",
        b"/api/v1/wallet/top-ups",
        b"/api/v1/wallet/grants",
        b"/api/v1/users",
        b"/api/v1/auth/token",
        b"/api/v1/auth/refresh",
        b"/api/v1/campaigns",
        b"/api/v1/products",
        b"/api/v1/webhooks/simulator",
        b"/api/v1/queue-tickets/x",
        b"/api/v1/users/me",
        b"/api/schema/",
        b"/api/docs/",
        b"/admin/login/",
        b"/admin/",
        b"/admin/board/",
        b"/admin/jsi18n/",
        b"/healthz",
        b"/readyz",
        b"/metrics",
        b"/",
        b"/static/admin/css/base.css",
    ],
    headers=[
        b"Host",
        b"Authorization",
        b"Idempotency-Key",
        b"Content-Type",
        b"Content-Encoding",
        b"Accept",
        b"TE",
        b"Date",
        b"Accept-Encoding",
        b"Accept-Language",
        b"If-None-Match",
        b"If-Modified-Since",
        b"Range",
        b"User-Agent",
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"Forwarded",
        b"X-Request-ID",
        b"traceparent",
        b"tracestate",
        b"baggage",
        b"Cookie",
        b"Origin",
        b"Referer",
        b"Expect",
        b"Upgrade",
        b"Connection",
        b"Trailer",
        b"X-CSRFToken",
        b"Signature",
        b"Stripe-Signature",
        b"Gateway-Signature",
        b"X-Signature",
        b"Last-Event-ID",
    ],
    methods=[b"GET", b"POST", b"PATCH", b"PUT", b"DELETE", b"HEAD", b"OPTIONS"],
    before_path=[b"http://127.0.0.1", b"//"],
    after_path=[
        b"%00",
        b"/%ff/..",
        b"?" + b"a=1&" * 3000,
        b"\x00",
        b" x",
        b"?limit=\xff",
        b"?%00=%ff",
        b"?limit=-1&cursor=%00&user=99999999999999999999",
    ],
    values=[
        b"",
        b" ",
        b"\x00",
        b"a\x00b",
        b"\xff\xfe",
        b"\xc3(",
        b"\xf0\x9f\x98\x80",  # an emoji
        b"a\r\n b",
        b"a\rb",
        b"a\nb",
        b"-1",
        b"0",
        b"9" * 30,
        b"1e999",
        b"NaN",
        b"*",
        b"%00",
        b"%ff%fe",
        b"../" * 20,
        b'"',
        b"'--",
        b"{{7*7}}",
        b";,=;,=",
        b"a" * 300,
        b"a" * 9000,
        b"a" * 70000,
        b"Bearer ",
        b"Bearer a.b.c",
        b"Bearer " + b"." * 50,
        b"Bearer e30.e30.e30",
        b"Bearer \xff",
        b"Basic !!",
        b"t=1,v1=00",
        b'W/"' + b"x" * 100,
        b"en;q=abc",
        b"ko," * 500,
        b"text/html;q=2, */*;q=-1",
        b"chunked",
        b"gzip, gzip",
        b"100-continue",
        b"websocket, h2c",
        b"close, keep-alive",
        b"bytes=0-,5-1",
        b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
        b"::1, 1.2.3.4.5, \xff",
        b"localhost:99999",
        b"[::1",
        b"application/json; charset=nonsense",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=\xff",
    ],
    bodies=[
        b"",
        b"null",
        b"[]",
        b"{",
        b"\x00",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",  # in UTF-16
        b"'",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b'"\\ud800"',
        b'{"a":1,"a":2}',
        b"{}" * 10,
        b'{"\x00":1}',
        b"[" * 30000,
        b'{"a":' * 10000,
        b"9" * 5000,
        b"{}" + b" " * 65536,
        b"a=%00&b=%ff&a[]=1",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
    ],
    types=[
        b"application/json",
        b"application/json",
        b"application/x-www-form-urlencoded",
        b"text/plain",
        b"",
        b"multipart/form-data; boundary=x",
        b"application/json; charset=utf-16",
    ],
    no_http=[
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
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
    ],
)
FORMS = Forms(
    not_sent="""\
.//button[@name] | .//input[@name][@type='submit' or @type='image' or @type='button']
| .//input[@name][@type='checkbox' or @type='radio'][not(@checked)]
| .//select[@name]//option[not(@selected)]
""",
    values=[
        "",
        " ",
        "0",
        "-1",
        "1.5",
        "9" * 19,
        "9" * 400,
        "1e400",
        "NaN",
        "null",
        "[]",
        '{"a": 1}',
        "on",
        "\x00",
        "a\x00b",
        "\u202e\x00\ufffe",
        "💥" * 300,
        "<script>alert(1)</script>",
        "x" * 70000,
        "'; DROP TABLE orders_order; --",
        "%s%n%(a)s{0}",
        "../../../etc/passwd",
        "0001-01-01",
        "9999-12-31T23:59:59",
        "2026-13-45 99:99",
        "00000000-0000-0000-0000-000000000000",
    ],
    files=[
        b"",
        b"\xff\xfe\x00",
        b"a" * 200000,
        b"\n" * 5000,
        b"sku,name,price,quantity\nA,B,1,2\n",
        b"sku,name,price,quantity\nA,B,1e400,-2\n\x00",
    ],
)
