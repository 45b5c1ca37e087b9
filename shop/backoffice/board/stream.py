"""The board's streams: a coroutine for each viewer on the event loop, which holds no thread.

The first viewer of a process starts its publisher, and the last one ends it. Each viewer sends the newest
snapshot when its connection has taken the one before, so a slow one misses snapshots and delays no other.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping

from prometheus_client import Gauge
from structlog import get_logger

from shop.backoffice.board import access, publisher
from shop.backoffice.board.access import ViewerIdentity
from shop.backoffice.board.paced_reading import BOARD_POOL
from shop.backoffice.board.publisher import Publisher
from shop.concurrency import event_loop
from shop.errors import Overloaded
from shop.http.pages import pages, streams
from shop.http.pages.pages import Scope, Send
from shop.http.request_body import Receive
from shop.lazy_texts import mark as _

log = get_logger(__name__)
ALLOWED_VIEWERS_KEY = "firstcome.allowed_viewers"
"""In the `META` of the page that decides: a list, to which it appends the identity that may have a stream."""
MOST_VIEWERS = 200
MOST_OF_ACCOUNT = 6
CHECK_SECONDS = 15.0
"""Between two checks whether the viewers may still watch."""
UNCHECKED_SECONDS = 60.0
"""A stream ends if its viewer could not be checked for so long, because the database is away."""
RETRY_SECONDS = 30
RECONNECT = b"retry: 1500\n\n"
BATCH = 16
"""Viewers that are woken in one pass of the loop; requests come between two of them."""
SIGNED_OUT, STOPPING, UNCHECKED = "signed_out", "stopping", "unchecked"
VIEWERS = Gauge(
    "firstcome_board_viewers", "Streams of the launch board that are open.", multiprocess_mode="livesum"
)

_viewers: set["_Viewer"] = set()
_publishing: "asyncio.Task[None] | None" = None
_checking: "asyncio.Task[None] | None" = None
_is_stopping = False


class _Viewer:
    """A stream: the message that it sends next, and whether it ends after it."""

    def __init__(self, identity: ViewerIdentity) -> None:
        self.identity = identity
        self.is_new = True
        self.is_ended = False
        self.checked_at = time.monotonic()
        self._message = b""
        self._wake = asyncio.Event()

    def offer(self, message: bytes) -> None:
        """Have this message sent next, in place of one that was not sent yet; nothing once it has ended."""
        if not self.is_ended:
            self._message = message
            self._wake.set()

    def end(self, message: bytes = b"") -> None:
        """End the stream, with a last message."""
        self.offer(message)
        self.is_ended = True
        self._wake.set()

    async def next_message(self) -> tuple[bytes, bool]:
        """Wait for the next message, and whether it is the last one."""
        await self._wake.wait()
        self._wake.clear()
        message, self._message = self._message, b""
        return message, self.is_ended


async def serve(scope: Scope, fields: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
    """Send the board's events until the client disconnects, may no longer watch, or the process stops.

    Raises `Overloaded` at the limits of viewers, and what `pages.render_page` raises.
    """
    allowed: list[ViewerIdentity] = []
    page = await pages.render_page(scope, fields, receive, **{ALLOWED_VIEWERS_KEY: allowed})
    if not allowed:
        await pages.send_page(page, scope, receive, send)
        return
    viewer = _admit(allowed[0])
    try:
        await _stream(viewer, receive, send)
    finally:
        _viewers.discard(viewer)
        VIEWERS.set(len(_viewers))


def stop() -> None:
    """End all streams of this process, and refuse others, because it is about to exit."""
    global _is_stopping
    _is_stopping = True
    for viewer in _viewers:
        viewer.end(publisher.ended_event(STOPPING))


def forget() -> None:
    """Forget the state of another event loop (tests)."""
    global _publishing, _checking, _is_stopping
    _viewers.clear()
    _publishing, _checking, _is_stopping = None, None, False
    publisher.forget_history()


def _admit(identity: ViewerIdentity) -> _Viewer:
    """Count a viewer, and start the publisher for the first. Raises `Overloaded`."""
    global _publishing
    if _is_stopping:
        raise Overloaded(_("This process stops; open the board again."))
    if len(_viewers) >= MOST_VIEWERS:
        raise Overloaded(
            _("{most} viewers watch the board of this process; try again later.", most=MOST_VIEWERS),
            retry_after=RETRY_SECONDS,
        )
    by_account = Counter(viewer.identity.account_id for viewer in _viewers)
    if by_account[identity.account_id] >= MOST_OF_ACCOUNT:
        raise Overloaded(
            _("This account watches the board {most} times; close one of its pages.", most=MOST_OF_ACCOUNT),
            retry_after=RETRY_SECONDS,
        )
    viewer = _Viewer(identity)
    _viewers.add(viewer)
    VIEWERS.set(len(_viewers))
    if _publishing is None or _publishing.done():
        _publishing = asyncio.ensure_future(_publish())
    return viewer


async def _stream(viewer: _Viewer, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": streams.EVENT_STREAM_HEADERS})
    await send({"type": "http.response.body", "body": RECONNECT, "more_body": True})
    leaving = asyncio.ensure_future(_end_on_disconnect(viewer, receive))
    try:
        is_last = False
        # Not `viewer.is_ended`: it may end while a slow viewer takes a message, and the last one follows.
        while not is_last:
            message, is_last = await viewer.next_message()
            await send({"type": "http.response.body", "body": message, "more_body": not is_last})
    finally:
        leaving.cancel()


async def _end_on_disconnect(viewer: _Viewer, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.end()


async def _publish() -> None:
    """Publish until there is no viewer."""
    source = Publisher()
    check_at = time.monotonic() + CHECK_SECONDS
    try:
        await source.start()
        while _viewers:
            await _offer_to_all(source, await source.next_event())
            if time.monotonic() >= check_at:
                check_at = time.monotonic() + CHECK_SECONDS
                _start_check()
            await source.wait_for_next()
    except Exception:
        log.exception("the board is no longer published in this process; its viewers reconnect")
        for viewer in tuple(_viewers):
            viewer.end()


async def _offer_to_all(source: Publisher, event: bytes) -> None:
    """Wake all viewers; new ones get the history first."""
    viewers = tuple(_viewers)
    first = await source.seed() + event if any(viewer.is_new for viewer in viewers) else b""
    for index, viewer in enumerate(viewers, start=1):
        viewer.offer(first if viewer.is_new else event)
        viewer.is_new = False
        if index % BATCH == 0:
            await asyncio.sleep(0)


def _start_check() -> None:
    """Check all viewers, unless a check hangs; end those that could not be checked for too long."""
    global _checking
    unchecked_since = time.monotonic() - UNCHECKED_SECONDS
    for viewer in tuple(_viewers):
        if viewer.checked_at < unchecked_since:
            viewer.end(publisher.ended_event(UNCHECKED))
    if _checking is None or _checking.done():
        _checking = asyncio.ensure_future(_end_refused())


async def _end_refused() -> None:
    """End the streams of viewers that may no longer watch."""
    began_at = time.monotonic()
    checked = {viewer.identity for viewer in _viewers}
    try:
        allowed = await event_loop.run_in_thread(access.filter_allowed, checked, pool=BOARD_POOL)
    except Exception as error:
        log.warning("the board's viewers can't be checked", error=str(error)[:200])
        return
    for viewer in tuple(_viewers):
        if viewer.identity in allowed:
            viewer.checked_at = began_at
        elif viewer.identity in checked:
            viewer.end(publisher.ended_event(SIGNED_OUT))
