"""Times of pages that a web process answers, over one connection that stays open."""

import http.client
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scripts.stack import SetupError, ports

GOAL_MS = 200
TIMEOUT_SECONDS = 60
ERRORS = 500


@dataclass(frozen=True)
class Timed:
    """A page with the milliseconds that each request of it took."""

    page: Mapping[str, Any]
    took_ms: Sequence[float]
    status: int

    @property
    def median_ms(self) -> float:
        return median(self.took_ms)

    @property
    def is_slow(self) -> bool:
        """Whether it misses the goal, or is no page at all."""
        return self.median_ms >= GOAL_MS or self.status >= ERRORS


class Browser:
    """A signed-in operator with one connection to a web process."""

    def __init__(self, port: int, *, session: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(ports.HOST, port, timeout=TIMEOUT_SECONDS)
        # The API reads the token, and the operators' pages read the session.
        self._headers = {
            "Cookie": f"sessionid={session}",
            "Authorization": f"Bearer {token}",
            "Accept-Encoding": "identity",
        }

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def download(self, path: str) -> Iterator[bytes]:
        """The body of the answer piece by piece. Raises SetupError unless it is a success."""
        self._connection.request("GET", path, None, self._headers)
        answer = self._connection.getresponse()
        if answer.status != http.client.OK:
            raise SetupError(f"{path} answered {answer.status}: {answer.read()[:300]!r}")
        while piece := answer.read(2**16):
            yield piece


def measure(browser: Browser, pages: Iterable[Mapping[str, Any]], *, times: int) -> Iterator[Timed]:
    """Request each page so many times, after once to fill the process's and the database's memory."""
    for page in pages:
        browser.request("GET", page["path"])
        took: list[float] = []
        for _ in range(times):
            began_at = time.perf_counter()
            status, _body = browser.request("GET", page["path"])
            took.append(1000 * (time.perf_counter() - began_at))
        yield Timed(page, took, status)


def table(timed: Sequence[Timed]) -> Iterator[str]:
    """A line for each list or object with its slowest way, and how many of its ways miss the goal."""
    yield "| page | ways | median of all | slowest | its median | its worst | statements | missed |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    by_list: dict[str, list[Timed]] = {}
    for one in timed:
        by_list.setdefault(one.page["of"], []).append(one)
    for name, ways in sorted(by_list.items(), key=lambda item: -max(way.median_ms for way in item[1])):
        slowest = max(ways, key=lambda way: way.median_ms)
        most = max(way.page["statements"] for way in ways)
        missed = sum(way.is_slow for way in ways)
        yield (
            f"| {name} | {len(ways)} | {median(way.median_ms for way in ways):.0f} ms "
            f"| {slowest.page['way']} | {slowest.median_ms:.0f} ms | {max(slowest.took_ms):.0f} ms "
            f"| at most {most} | {missed or ''} |"
        )


def slow_ones(timed: Sequence[Timed]) -> Iterator[str]:
    """Each page that misses the goal, with the statement that took longest."""
    for one in sorted(timed, key=lambda one: -one.median_ms):
        if one.is_slow:
            page = one.page
            yield (
                f"{one.median_ms:7.0f} ms (worst {max(one.took_ms):.0f})  {one.status}  {page['of']}, "
                f"{page['way']}\n    {page['path']}\n    {page['statements']} statements, the slowest "
                f"{page['slowest_ms']:.0f} ms: {page['slowest']}"
            )
