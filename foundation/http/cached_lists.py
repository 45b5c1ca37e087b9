"""Lists for customers: a process reads each at most once a second while many clients ask for it.

In a burst, `BURST_REQUESTS` within a second, a request gets the page that was read within the second before
it. Otherwise one thread reads it for all requests that wait, so each gets the page as it is now. Staff are
never shown a kept page. Without an event loop each request reads its page.
"""

import asyncio
import hashlib
import math
import time
from asyncio import _get_running_loop as running_loop
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from django.utils.http import parse_etags
from rest_framework.response import Response

from foundation.concurrency import event_loop
from foundation.db import open_transaction
from foundation.http import compression, json_format
from foundation.http.messages import JSON, JSONResponse, Request

MAX_AGE_SECONDS = 1.0
BURST_REQUESTS = 20
"""Of a page within `MAX_AGE_SECONDS`, from which on a kept page is shown."""
MOST_PAGES = 256
LARGEST_PAGE_BYTES = 96 * 1024
"""Kept at once, and the size up to which a page is kept; one of 200 products has some 60 KB."""
LONGEST_URL = 1_024
"""The page of a longer one is not kept."""
LONGEST_ETAGS = 1_024
"""A longer `If-None-Match` is ignored."""
Render = Callable[[Request], Response]


class _Page(NamedTuple):
    """A page as it was read; `began_at` is from before the first statement, by the monotonic clock.

    `etag` is a hash of the page, the same in every process; `compressed` is empty for a short page.
    """

    began_at: float
    body: bytes
    etag: str
    compressed: bytes


@dataclass(eq=False)
class _List:
    """What is known of a URL: its last requests, the page that was read last, and the reading under way."""

    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=BURST_REQUESTS))
    page: _Page | None = None
    reading: "asyncio.Future[_Page] | None" = None
    reading_began_at: float = math.inf


# The one that was asked for last at the end.
_lists: OrderedDict[str, _List] = OrderedDict()
_expired_at = 0.0


async def respond(request: Request, *, customers: Render, staff: Render) -> JSONResponse:
    """Respond with the page of the list: to staff as it is now, to others at most `MAX_AGE_SECONDS` old.

    `customers` must depend on nothing but the request's URL. Raises what the two raise.
    """
    if request.user.is_staff:
        own = await event_loop.run_in_thread(staff, request, group="staff", member=request.user.pk)
        return JSONResponse(own.data)
    page = await _page(request, customers)
    headers = {"ETag": page.etag, "Vary": compression.ENCODING}
    if request.header("Authorization") is None:
        # Caches may keep it, and ask each time whether it has changed. With a token it is `no-store`.
        headers["Cache-Control"] = "no-cache"
    if _is_known(request, page.etag):
        return JSONResponse(status=304, headers=headers)
    body = page.body
    if page.compressed and compression.is_taken(request.header(compression.ENCODING)):
        # Not the same bytes.
        headers |= {"Content-Encoding": "gzip", "ETag": f"W/{page.etag}"}
        body = page.compressed
    return JSONResponse.from_json(body, 200, JSON, headers)


def expire() -> None:
    """Show no page of this process any more that was read before now, or before the commit of an open
    transaction; callable from any thread.
    """
    open_transaction.after_commit(_expire)


def _expire() -> None:
    global _expired_at
    _expired_at = time.monotonic()


async def _page(request: Request, render: Render) -> _Page:
    if running_loop() is None:
        return _read(request, render)
    known = _List()
    url = request.build_absolute_uri()
    if len(url) <= LONGEST_URL:
        known = _lists[url] = _lists.pop(url, known)
        if len(_lists) > MOST_PAGES:
            _lists.popitem(last=False)
    now = time.monotonic()
    known.arrivals.append(now)
    is_burst = len(known.arrivals) == BURST_REQUESTS and now - known.arrivals[0] < MAX_AGE_SECONDS
    # A reading that has not begun has all that was committed before the request arrived.
    oldest = max(_expired_at, now - MAX_AGE_SECONDS) if is_burst else now
    if known.page is not None and known.page.began_at > oldest:
        return known.page
    if known.reading is None or known.reading_began_at <= oldest:
        known.reading_began_at = math.inf
        known.reading = asyncio.ensure_future(_read_for_all(known, request, render))
    # The wait of one request may be cancelled, and the others' must not.
    return await asyncio.shield(known.reading)


async def _read_for_all(known: _List, request: Request, render: Render) -> _Page:
    """Read the page in a thread, and keep it; a reading that was refused or failed is forgotten."""

    def read() -> _Page:
        known.reading_began_at = time.monotonic()
        return _read(request, render)

    try:
        # One list holds half of the threads at most, whatever its clients search for.
        page = await event_loop.run_in_thread(read, group=("list", request.path))
    finally:
        if is_latest := known.reading is asyncio.current_task():
            known.reading = None
    if is_latest and len(page.body) <= LARGEST_PAGE_BYTES:
        known.page = page
    return page


def _read(request: Request, render: Render) -> _Page:
    began_at = time.monotonic()
    body = json_format.dump(render(request).data)
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    is_short = len(body) < compression.SMALLEST_BYTES
    return _Page(began_at, body, etag, b"" if is_short else compression.compress(body))


def _is_known(request: Request, etag: str) -> bool:
    known = request.header("If-None-Match")
    if known is None or len(known) > LONGEST_ETAGS:
        return False
    names = parse_etags(known)
    # A proxy that compresses responses makes their tags weak.
    return names == ["*"] or etag in (name.removeprefix("W/") for name in names)
