"""The leader of a hot row: it enters what others handed over into its batcher, and sends the outcomes.

One thread takes the messages and one sends the replies, so that a batch's own thread does neither. The thread
ends once this process leads no row, and is started again with the next.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from redis import Redis
from structlog import get_logger

from shop.concurrency.group_commit import Batcher
from shop.errors import Overloaded
from shop.redis import redis_client
from shop.redis.handover import leadership, messages
from shop.redis.handover.messages import HandedOver
from shop.redis.handover.recent import Recent

log = get_logger(__name__)
POLL_SECONDS = 0.25
"""Less than the time that Redis has to answer any call, and than a lease."""
MOST_AT_ONCE = 64
REPLY_SECONDS = 10
IDLE_SECONDS = 5.0
FindBatcher = Callable[[int], Batcher[Any, Any]]

_batchers: dict[str, FindBatcher] = {}
_mutex = threading.Lock()
_thread: threading.Thread | None = None
_replies = ThreadPoolExecutor(1, "handed-over replies")
_open: dict[str, int] = {}
"""How many messages of each row are being decided."""
HOT_SECONDS = 1.0
"""How long a row counts as hot after a batch that made it so."""
SERVED = Recent(HOT_SECONDS)
"""The rows of which others have handed over batches."""
_progress_at: dict[str, float] = {}
"""When a reply of a row was last made, or its first open message came."""


def register(kind: str, find: FindBatcher) -> None:
    """Have rows of this kind decided by the batcher that `find` returns for a row."""
    _batchers[kind] = find


def row_name(kind: str, row: int) -> str:
    return f"{kind}:{row}"


def start() -> None:
    """Serve the others, because this process leads a row."""
    global _thread
    if _thread is not None and _thread.is_alive():
        return
    with _mutex:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_serve, name="handed-over batches", daemon=True)
            _thread.start()


def _serve() -> None:
    busy_at = time.monotonic()
    while True:
        try:
            taken = redis_client.attempt(_take, otherwise=None)
            for row in list(_open):
                # So the lease ends of a process that hangs, or whose database does.
                if time.monotonic() - _progress_at.get(row, 0.0) < leadership.LEASE_SECONDS:
                    leadership.leader_of(row)
            for message in taken or ():
                _receive(message)
        except Exception:
            log.exception("a batch that was handed over could not be taken")
            taken = None
        if taken or _open or leadership.led_rows():
            busy_at = time.monotonic()
        elif time.monotonic() - busy_at > IDLE_SECONDS:
            return
        if taken is None:
            time.sleep(POLL_SECONDS)


def _take(client: Redis) -> Sequence[bytes]:
    """The messages that wait, or those that come within the poll."""
    inbox = leadership.own_inbox()
    first: Any = client.blpop([inbox], POLL_SECONDS)
    if not first:
        return ()
    others: Any = client.lpop(inbox, MOST_AT_ONCE)
    return [first[1], *(others or ())]


def _receive(message: bytes) -> None:
    """Enter the requests of a message into their row's batcher."""
    handed_over = messages.unpack(leadership.own_inbox(), message)
    if not isinstance(handed_over, HandedOver) or handed_over.kind not in _batchers:
        log.warning("a batch that was handed over isn't signed by a process of this shop")
        return
    _Gathered(handed_over, _batchers[handed_over.kind](handed_over.row)).enter()


class _Gathered:
    """The outcomes of one message, until all of them are there."""

    def __init__(self, handed_over: HandedOver, batcher: Batcher[Any, Any]) -> None:
        self._handed_over = handed_over
        self._batcher = batcher
        self._row = row_name(handed_over.kind, handed_over.row)
        self._outcomes: list[Any] = [None] * len(handed_over.requests)
        self._missing = len(handed_over.requests)
        self._mutex = threading.Lock()

    def enter(self) -> None:
        with _mutex:
            if self._row not in _open:
                _progress_at[self._row] = time.monotonic()
            _open[self._row] = _open.get(self._row, 0) + 1
            SERVED.note(self._row)
        for index, request in enumerate(self._handed_over.requests):
            try:
                self._batcher.enter(request, partial(self._gather, index))
            except Overloaded as error:
                self._gather(index, error)

    def _gather(self, index: int, outcome: Any) -> None:
        self._outcomes[index] = outcome
        with self._mutex:
            self._missing -= 1
            is_last = not self._missing
        if is_last:
            _replies.submit(self._reply)

    def _reply(self) -> None:
        name = self._handed_over.reply_to
        try:
            reply = messages.pack(name, self._outcomes)
        except Exception:
            # Without a reply the process that waits decides for itself, and finds what was done.
            log.exception("the outcomes of a batch can't be sent")
            reply = b""
        redis_client.attempt(lambda client: _send(client, name, reply), otherwise=None)
        with _mutex:
            _open[self._row] -= 1
            _progress_at[self._row] = time.monotonic()
            if not _open[self._row]:
                del _open[self._row], _progress_at[self._row]


def _send(client: Redis, name: str, reply: bytes) -> None:
    with client.pipeline(transaction=False) as pipeline:
        pipeline.rpush(name, reply)
        pipeline.expire(name, REPLY_SECONDS)
        pipeline.execute()
