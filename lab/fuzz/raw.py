"""Bytes that are no right HTTP request, or hardly one: each connection must be answered or closed, and no
answer may be a 5xx. Odd fields of bodies are for the tests of the API's document."""

import random
import re
import socket
from collections.abc import Sequence
from contextlib import suppress

from lab.fuzz.findings import Findings
from lab.fuzz.odd import REQUESTS
from scripts.stack import ports

ANSWER_SECONDS = 30.0  # Bodies have 10 s to arrive; after that the shop answers 408 and lingers for 5 s
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)")
WHOLE = "bodies"  # The kind of requests that a server that reads to their end can answer at once
KINDS = ("no HTTP", "address", "unfinished", *("headers", WHOLE) * 2)


def draw(chance: random.Random, tokens: Sequence[str]) -> tuple[str, bytes]:
    kind = chance.choice(KINDS)
    path = chance.choice(REQUESTS.paths)
    token = chance.choice(tokens)
    more = body = b""
    if kind == "no HTTP":
        return kind, chance.choice(REQUESTS.no_http)
    if kind == "address":
        changed = [
            *(part + path for part in REQUESTS.before_path),
            *(path + part for part in REQUESTS.after_path),
        ]
        path = chance.choice(changed)
    elif kind == "headers":
        names = chance.choices(REQUESTS.headers, k=chance.randint(1, 4))
        body = chance.choice([b"", b"{}", b"null"])
        more = b"".join(b"%b: %b\r\n" % (name, chance.choice(REQUESTS.values)) for name in names)
    else:
        body = chance.choice(REQUESTS.bodies) if kind == WHOLE else b'{"a": 1}' * 60
        more = b"Content-Type: %b\r\n" % chance.choice(REQUESTS.types)
    more += b"Authorization: Bearer %b\r\n" % token.encode() if token else b""
    head = b"%b %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % (
        chance.choice(REQUESTS.methods),
        path,
    )
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
