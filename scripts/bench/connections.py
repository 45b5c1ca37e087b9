"""Very many open connections that each ask once: a small loader of our own, and the row that it measures.

k6 would need a script engine, hence megabytes, for each. All connections are opened first and stay open; then
every one sends its request, and each answer is timed from its own request to its last byte.
"""

import asyncio
import json
import resource
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scripts.bench import watching
from scripts.bench.load import Figures, Run
from scripts.bench.stage import Stage
from scripts.stack import ports

AT_ONCE = 250
"""Connections that are being opened at a time: fewer than any listen queue holds."""
OPEN_SECONDS, ANSWER_SECONDS = 20, 60
BESIDE = 500
"""Open files that are for something else."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status 0 stands for no whole answer."""

    status: int
    says_when: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of it: how many connections were not accepted, and every answer of the others; `seconds` from
    the first request to the last answer."""

    refused: int
    answers: Sequence[Answer]
    seconds: float

    @property
    def statuses(self) -> Mapping[int, int]:
        return Counter(answer.status for answer in self.answers)

    def percentile_ms(self, share: float) -> float:
        """The time that this share of the answers came within."""
        times = sorted(answer.seconds for answer in self.answers)
        return 1000 * times[min(int(share * len(times)), len(times) - 1)] if times else 0


def allowed(wanted: int) -> int:
    """How many connections this process may open, up to so many; its limit is raised to what it takes."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + BESIDE
    possible = needed if most == resource.RLIM_INFINITY else min(needed, most)
    if soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, most))
    return min(wanted, possible - BESIDE)


def request(path: str, body: str, *, access: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST as its bytes on the wire."""
    others = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {ports.HOST}\r\nAuthorization: Bearer {access}\r\n{others}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def open_and_ask(port: int, requests: Sequence[bytes]) -> Told:
    """Open a connection on loopback for each request; when all are open, send them all."""
    return asyncio.run(_open_and_ask(port, requests))


async def _open_and_ask(port: int, requests: Sequence[bytes]) -> Told:
    callers = await open_all(port, len(requests))
    began_at = time.monotonic()
    for caller, asked in zip(callers, requests, strict=False):
        caller.ask(asked)
        await asyncio.sleep(0)  # so that answers are seen when they come
    answers = await read_answers(callers, within_seconds=ANSWER_SECONDS)
    seconds = time.monotonic() - began_at
    return Told(refused=len(requests) - len(callers), answers=answers, seconds=seconds)


async def open_all(port: int, number: int) -> list["Caller"]:
    """So many connections on loopback, without those that are not accepted."""
    callers = [Caller() for _ in range(number)]
    free = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_open(caller, port, free) for caller in callers))
    return [caller for caller in callers if caller.transport]


async def read_answers(callers: Sequence["Caller"], *, within_seconds: float) -> list[Answer]:
    """The answer to each caller, and every connection closed; without one in that time its status is 0."""
    if callers:
        await asyncio.wait([caller.answered for caller in callers], timeout=within_seconds)
    for caller in callers:
        caller.close()
    return [caller.answered.result() for caller in callers]


async def _open(caller: "Caller", port: int, free: asyncio.Semaphore) -> None:
    """Leaves the caller without a transport where the connection is not accepted."""
    loop = asyncio.get_running_loop()
    async with free:
        try:
            await asyncio.wait_for(loop.create_connection(lambda: caller, ports.HOST, port), OPEN_SECONDS)
        except (OSError, TimeoutError):
            caller.transport = None


class Caller(asyncio.Protocol):
    """One connection with one request on it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.received = b""
        self.asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, asked: bytes) -> None:
        assert self.transport is not None
        self.asked_at = time.monotonic()
        self.transport.write(asked)

    def data_received(self, data: bytes) -> None:
        self.received += data
        status, says_when, is_whole = read(self.received)
        if is_whole:
            self._end(status, says_when)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(0, False)

    def close(self) -> None:
        """Hang up; without a whole answer so far there is none."""
        self._end(0, False)
        if self.transport is not None:
            self.transport.abort()

    def _end(self, status: int, says_when: bool) -> None:
        if not self.answered.done():
            seconds = time.monotonic() - (self.asked_at or time.monotonic())
            self.answered.set_result(Answer(status=status, says_when=says_when, seconds=seconds))


def read(received: bytes) -> tuple[int, bool, bool]:
    """The answer so far: its status, whether it says when to come again, and whether all of it is there."""
    head, ends, body = received.partition(b"\r\n\r\n")
    if not ends:
        return 0, False, False
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    is_whole = len(body) >= int(headers.get("content-length", 0))
    return int(first.split()[1]), "retry-after" in headers, is_whole


def measure(stage: Stage) -> Run:
    """Everybody has to be answered, and exactly as many coupons given as there are: half as many as ask."""
    wanted = stage.size.connections
    number = allowed(wanted)
    quantity = number // 2
    campaign = stage.campaign("open connections", quantity=quantity)
    body = json.dumps({"campaign": campaign})
    users = stage.staff.users[:number]
    asked = [request("/api/v1/coupons", body, access=user["access"]) for user in users]
    before = watching.spent(stage.instance)
    told = open_and_ask(stage.instance.port, asked)
    after = watching.spent(stage.instance)
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(told.statuses.items()))
    fewer = f"; this process may open no more than {number:,} of {wanted:,}" if number < wanted else ""
    microseconds = watching.of_each(before, after, requests=len(told.answers))
    return Run(
        row="connections",
        figures=replace(figures(told, expected=(201, 409)), microseconds=microseconds),
        findings=list(findings(told, quantity=quantity, issued=stage.staff.issued(campaign))),
        others={"connections": number},
        says=f"{statuses}{fewer}",
    )


def figures(told: Told, *, expected: Collection[int]) -> Figures:
    """The answers as the figures of a load; those of other statuses are errors."""
    others = {status: count for status, count in told.statuses.items() if status not in expected}
    return Figures(
        seconds=told.seconds,
        requests=len(told.answers),
        errors=sum(others.values()),
        statuses={str(status): count for status, count in others.items()},
        p50_ms=told.percentile_ms(0.5),
        p95_ms=told.percentile_ms(0.95),
        max_ms=told.percentile_ms(1),
        k6_cores=0,
    )


def findings(told: Told, *, quantity: int, issued: int) -> Iterator[str]:
    """What must not be, however slow it is."""
    given = told.statuses.get(201, 0)
    if told.refused:
        yield f"connections: {told.refused} were refused"
    if told.statuses.get(0):
        yield f"connections: {told.statuses[0]} were left without an answer"
    if not given == issued == quantity:
        yield f"connections: of {quantity} coupons {issued} are issued, and {given} were told of theirs"
    others = [one for one in told.answers if one.status not in (0, 201, 409, 503)]
    if others:
        yield f"connections: {len(others)} answers of {sorted({one.status for one in others})}"
    if any(one.status == 503 and not one.says_when for one in told.answers):
        yield "connections: answers of 503 without Retry-After"
