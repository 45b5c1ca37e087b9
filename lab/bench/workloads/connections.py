"""Very many open connections that send one request each: a small loader of our own, and the row it measures.

k6 would need a script engine, hence megabytes, for each. All connections are opened first and stay open; then
each sends its request, and each answer is timed from its own request to its last byte.
"""

import asyncio
import contextlib
import json
import resource
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import httptools

from lab.bench import watching
from lab.bench.load import Figures, Run, percentile
from lab.bench.stage import Stage
from scripts.stack import ports

AT_ONCE = 250
"""Connections that are being opened at a time: fewer than any listen queue holds."""
OPEN_SECONDS, ANSWER_SECONDS = 20, 60
OTHER_FILES = 500
"""Open files that are for something else."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status 0 stands for no whole answer."""

    status: int
    has_retry_after: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers on all connections that were accepted, the number of those that were not, and the seconds
    from the first request to the last answer."""

    refused: int
    answers: Sequence[Answer]
    seconds: float

    @property
    def statuses(self) -> Mapping[int, int]:
        return Counter(answer.status for answer in self.answers)

    def percentile_ms(self, share: float) -> float:
        """The time that this share of the answers came within."""
        return 1000 * percentile(sorted(answer.seconds for answer in self.answers), share)


def allowed(wanted: int) -> int:
    """How many connections this process may open, up to `wanted`; its limit of open files is raised."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    possible = needed if most == resource.RLIM_INFINITY else min(needed, most)
    if soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, most))
    return min(wanted, possible - OTHER_FILES)


def request(
    path: str, body: str, *, access: str, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> bytes:
    """A request as its bytes on the wire."""
    others = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {ports.HOST}\r\nAuthorization: Bearer {access}\r\n{others}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def open_and_send(port: int, requests: Sequence[bytes]) -> Answers:
    """Open a connection on loopback for each request; when all are open, send all requests."""
    return asyncio.run(_open_and_send(port, requests))


async def _open_and_send(port: int, requests: Sequence[bytes]) -> Answers:
    opened = await open_all(port, len(requests))
    began_at = time.monotonic()
    await send(opened, requests)
    answers = await read_answers(opened, within_seconds=ANSWER_SECONDS)
    seconds = time.monotonic() - began_at
    return Answers(refused=len(requests) - len(opened), answers=answers, seconds=seconds)


async def open_all(port: int, number: int) -> list["Connection"]:
    """That many connections on loopback, without those that are not accepted."""
    free = asyncio.Semaphore(AT_ONCE)

    async def connect() -> Connection | None:
        loop = asyncio.get_running_loop()
        async with free:
            with contextlib.suppress(OSError):  # a timeout is one
                async with asyncio.timeout(OPEN_SECONDS):
                    return (await loop.create_connection(Connection, ports.HOST, port))[1]
        return None

    opened = await asyncio.gather(*(connect() for _ in range(number)))
    return [connection for connection in opened if connection]


async def send(connections: Sequence["Connection"], requests: Sequence[bytes]) -> None:
    """Send a request on each connection."""
    for connection, content in zip(connections, requests, strict=False):
        connection.send(content)
        await asyncio.sleep(0)  # so that answers are seen when they come


async def read_answers(connections: Sequence["Connection"], *, within_seconds: float) -> list[Answer]:
    """The answer on each connection, and all of them closed; one without an answer in time has status 0."""
    if connections:
        await asyncio.wait([one.answered for one in connections], timeout=within_seconds)
    for one in connections:
        one.close()
    return [one.answered.result() for one in connections]


class Connection(asyncio.Protocol):
    """One connection with one request on it."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.has_retry_after = False
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, content: bytes) -> None:
        self.sent_at = time.monotonic()
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.has_retry_after |= name.lower() == b"retry-after"

    def on_message_complete(self) -> None:
        self._end(self.parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        self._end(0)

    def close(self) -> None:
        self._end(0)
        self.transport.abort()

    def _end(self, status: int) -> None:
        if not self.answered.done():
            seconds = time.monotonic() - (self.sent_at or time.monotonic())
            has_retry_after = self.has_retry_after and status != 0
            self.answered.set_result(Answer(status=status, has_retry_after=has_retry_after, seconds=seconds))


def measure(stage: Stage) -> Run:
    """Every request has to be answered, and exactly as many coupons issued as there are: half as many."""
    number = allowed(stage.size.connections)
    quantity = number // 2
    campaign = stage.campaign("open connections", quantity=quantity)
    body = json.dumps({"campaign": campaign})
    requests = [
        request("/api/v1/coupons", body, access=user["access"]) for user in stage.staff.users[:number]
    ]
    before = watching.spent(stage.instance)
    came = open_and_send(stage.instance.port, requests)
    microseconds = watching.of_each(before, watching.spent(stage.instance), requests=len(came.answers))
    says = ", ".join(f"{count:,} x {status}" for status, count in sorted(came.statuses.items()))
    if number < stage.size.connections:
        says += f"; this process may open no more than {number:,} of {stage.size.connections:,}"
    return Run(
        row="connections",
        figures=replace(figures(came, expected=(201, 409)), microseconds=microseconds),
        findings=list(findings(came, quantity=quantity, issued=stage.staff.issued(campaign))),
        others={"connections": number},
        says=says,
    )


def figures(came: Answers, *, expected: Collection[int]) -> Figures:
    """The answers as the figures of a load; those of other statuses are errors."""
    others = {status: count for status, count in came.statuses.items() if status not in expected}
    return Figures(
        seconds=came.seconds,
        requests=len(came.answers),
        errors=sum(others.values()),
        statuses={str(status): count for status, count in others.items()},
        p50_ms=came.percentile_ms(0.5),
        p95_ms=came.percentile_ms(0.95),
        max_ms=came.percentile_ms(1),
        k6_cores=0,
    )


def findings(came: Answers, *, quantity: int, issued: int) -> Iterator[str]:
    """The errors, however slow it is."""
    yield from unexpected(came, "connections", expected=(201, 409, 503))
    created = came.statuses.get(201, 0)
    if not created == issued == quantity:
        yield f"connections: of {quantity} coupons {issued} are issued, and {created} were answered 201"
    if any(one.status == 503 and not one.has_retry_after for one in came.answers):
        yield "connections: answers of 503 without Retry-After"


def unexpected(came: Answers, row: str, *, expected: Collection[int]) -> Iterator[str]:
    """Connections that were refused, requests without an answer, and answers of other statuses."""
    others = {status: count for status, count in sorted(came.statuses.items()) if status not in expected}
    if came.refused:
        yield f"{row}: {came.refused} connections were refused"
    if lost := others.pop(0, 0):
        yield f"{row}: {lost} requests were left without an answer"
    if others:
        counts = ", ".join(f"{count} x {status}" for status, count in others.items())
        yield f"{row}: answers other than {', '.join(map(str, expected))}: {counts}"
