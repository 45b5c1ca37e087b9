"""Raw requests over sockets: each connection must be answered or closed, and no answer may be a 5xx."""

import contextlib
import random
import re
import socket
import time

from lab.fuzz import raw_requests
from lab.fuzz.callers import Callers
from lab.fuzz.findings import Findings, is_server_error
from lab.fuzz.raw_requests import RawRequest
from scripts.stack import ports

ANSWER_SECONDS = 30.0
"""Bodies have 10 s to arrive; after that the shop answers 408 and lingers for 5 s."""
PIECE_SECONDS = 0.01
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)")
LARGEST = 4 * 1024 * 1024


def send_until(ends_at: float, *, port: int, callers: Callers, run_seed: str, findings: Findings) -> int:
    """One connection after the other until that moment of the monotonic clock; how many there were."""
    source, sent = random.Random(run_seed), 0
    while time.monotonic() < ends_at:
        request = raw_requests.draw(source, callers)
        sent += 1
        detail = f"SEED {run_seed!r} number {sent} {b''.join(request.pieces)[:600]!r}"
        send_one(port, request, detail, findings, ends_half=source.random() < 0.5)
    return sent


def send_one(port: int, request: RawRequest, detail: str, findings: Findings, *, ends_half: bool) -> None:
    """Send it on a connection of its own, and record what comes."""
    try:
        received = exchange(port, request, ends_half=ends_half)
    except TimeoutError:
        findings.record(f"{request.kind}: neither an answer nor an end in {ANSWER_SECONDS:.0f} s", detail)
    except ConnectionRefusedError:
        findings.record("the shop takes no connection", detail)
    else:
        check(received, request, detail, findings)


def exchange(port: int, request: RawRequest, *, ends_half: bool) -> bytes:
    """All that comes until the shop closes. A connection that stays open after an answer, as keep-alive
    may, is left. Raises TimeoutError when nothing comes.
    """
    received, until = b"", time.monotonic() + ANSWER_SECONDS
    with socket.create_connection((ports.HOST, port), timeout=ANSWER_SECONDS) as connection:
        # What waits for the rest of a head is the proxy's to end, and none is here.
        has_head = b"\r\n\r\n" in b"".join(request.pieces)
        _send(connection, request, ends_half=not request.is_whole and (ends_half or not has_head))
        with contextlib.suppress(ConnectionResetError):
            while len(received) < LARGEST:
                connection.settimeout(max(0.1, until - time.monotonic()) if not received else 1.0)
                try:
                    got = connection.recv(65_536)
                except TimeoutError:
                    if received and (not request.is_whole or time.monotonic() > until):
                        break
                    if time.monotonic() > until:
                        raise
                    continue
                if not got:
                    break
                received += got
    return received


def _send(connection: socket.socket, request: RawRequest, *, ends_half: bool) -> None:
    try:
        for piece in request.pieces:
            connection.sendall(piece)
            time.sleep(PIECE_SECONDS)
        if ends_half:
            connection.shutdown(socket.SHUT_WR)
    except TimeoutError:
        raise
    except OSError:
        return  # a server that refuses may close before it has everything


def check(received: bytes, request: RawRequest, detail: str, findings: Findings) -> None:
    """Note every status in what came; a 5xx, and a whole request without an answer, is a finding."""
    answers = STATUS.findall(received)
    if not answers:
        findings.record_status("raw", "closed")
        if request.is_whole:
            findings.record(f"{request.kind}: closed without an answer", f"{received[:200]!r} {detail}")
    for status, head in answers:
        findings.record_status("raw", int(status))
        if is_server_error(int(status), head.decode("latin-1").replace("\r\n", "\n")):
            kind = f"{request.kind} answered {int(status)}"
            findings.record(kind, f"{detail} said {received[-300:]!r}")
