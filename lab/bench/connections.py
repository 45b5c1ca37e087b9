"""Very many open connections with a request each, by a small loader of our own: k6 would need a script
engine, hence megabytes, for each. All are opened first; each answer is timed from its own request."""

import asyncio
import re
import resource
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from scripts.stack import ports

AT_ONCE = 250
"""Connections that are being opened at a time: fewer than any listen queue holds."""
OPEN_SECONDS, ANSWER_SECONDS = 20, 60
OTHER_FILES = 500
"""Open files that are for something else."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter] | None
LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """When it came, by the host's clock, and how long after its request; status 0 is no whole answer."""

    status: int
    seconds: float
    at: float
    body: bytes


def request(path: str, body: str = "", *, access: str = "", method: str = "POST", **headers: str) -> bytes:
    """A request as its bytes on the wire; names of headers have underscores for hyphens."""
    others = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    signed_in = f"Authorization: Bearer {access}\r\n" if access else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: {ports.HOST}\r\n{signed_in}{others}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def allow_files(number: int) -> None:
    """Raise this process's limit of open files, if it is lower."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number + OTHER_FILES), most))


async def open_all(port: int, number: int) -> list[Streams]:
    """That many connections on loopback; None for each that isn't accepted."""
    free = asyncio.Semaphore(AT_ONCE)

    async def connect() -> Streams:
        try:
            async with free, asyncio.timeout(OPEN_SECONDS):
                return await asyncio.open_connection(ports.HOST, port)
        except OSError:  # a timeout is one
            return None

    return await asyncio.gather(*(connect() for _ in range(number)))


async def ask(streams: Streams, content: bytes, within_seconds: float = ANSWER_SECONDS) -> Answer:
    """The answer on that connection, which stays open."""
    began_at, status, body = time.time(), 0, b""
    if streams:
        with suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(within_seconds):
                streams[1].write(content)
                head = await streams[0].readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                body = await streams[0].readexactly(int(length[1]) if length else 0)
            status = int(head[9:12])
    return Answer(status, time.time() - began_at, time.time(), body)


async def ask_all(
    port: int, requests: Sequence[bytes], within_seconds: float = ANSWER_SECONDS
) -> list[Answer]:
    """Open a connection for each request; when all are open, send all requests."""
    opened = await open_all(port, len(requests))
    return await asyncio.gather(
        *(ask(one, content, within_seconds) for one, content in zip(opened, requests, strict=True))
    )


def unexpected(row: str, answers: Sequence[Answer], expected: Collection[int]) -> list[str]:
    """Answers of other statuses; 0 stands for connections and requests without an answer."""
    others = Counter(one.status for one in answers if one.status not in expected)
    return [f"{row}: answers other than {expected}, by status: {dict(others)}"] if others else []
