"""Settles the queues of all campaigns with the strategy `queue`: the work of `manage.py run_issuer`.

A few threads settle any number of queues in turn; those with a partner, which are slow, have threads of their
own. Of several issuers one holds a queue's lease. The entries that a killed one had read go to the next; one
that was frozen finds its tickets settled.
"""

import heapq
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from django.db import Error, close_old_connections, connections
from structlog import get_logger

from coupons.allocation import eligibility
from coupons.models import Campaign, QueueTicket
from coupons.partners import call_limit
from coupons.queue import recovery, settlement, stream, tickets
from coupons.queue.stream import QueuePosition
from shop import clock
from shop.errors import Unavailable
from shop.observability import logs, tracing

log = get_logger(__name__)
BATCH = 256
# A partner confirms so many, several at once, before the next batch is read.
BATCH_WITH_PARTNER = 32
# How many queues of each batch size are settled at once, with a thread and a connection each; a queue with a
# partner uses 16 more threads while it calls the partner (`coupons.queue.settlement`).
QUEUES_AT_ONCE = {BATCH: 8, BATCH_WITH_PARTNER: 2}
REFRESH_SECONDS = 1.0
RETRY_SECONDS = 1.0
# How soon an empty queue is read again if there are more queues than threads.
IDLE_SECONDS = 0.5


class NoTicketSettled(Exception):
    """None of the first tickets can be settled before their partner answers; they keep their positions."""


class _Rotation:
    """Queues that a few threads settle in turn, up to `most` tickets at a time."""

    def __init__(self, most: int, stop: threading.Event) -> None:
        self._most = most
        self._stop = stop
        self._issuer = uuid4().hex
        self._wanted: Collection[int] = ()
        # All queues that wait for their turn, each from its deadline on, or are being settled by one thread.
        self._known: set[int] = set()
        self._deadlines: list[tuple[float, int]] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def follow(self, campaign_ids: Collection[int]) -> None:
        """Settle these queues from now on, and release the others."""
        with self._changed:
            self._wanted = campaign_ids
            for campaign_id in set(campaign_ids) - self._known:
                self._known.add(campaign_id)
                heapq.heappush(self._deadlines, (time.monotonic(), campaign_id))
            self._changed.notify_all()
        for number in range(len(self._threads), min(len(campaign_ids), QUEUES_AT_ONCE[self._most])):
            thread = threading.Thread(target=self._serve, name=f"queues {self._most} {number}")
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Return once all threads have ended, after `stop` was set, and release all queues."""
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for campaign_id in self._known:
            stream.release(campaign_id, issuer=self._issuer)

    def _serve(self) -> None:
        try:
            while (campaign_id := self._next()) is not None:
                if campaign_id in self._wanted:
                    self._serve_batch(campaign_id)
                else:
                    stream.release(campaign_id, issuer=self._issuer)
                    self._known.discard(campaign_id)
        finally:
            connections.close_all()

    def _next(self) -> int | None:
        """Wait for the queue that is due first, and take it; None once `stop` is set."""
        with self._changed:
            while not self._stop.is_set():
                wait_seconds = (
                    self._deadlines[0][0] - time.monotonic() if self._deadlines else REFRESH_SECONDS
                )
                if wait_seconds <= 0:
                    return heapq.heappop(self._deadlines)[1]
                self._changed.wait(min(wait_seconds, REFRESH_SECONDS))
        return None

    def _serve_batch(self, campaign_id: int) -> None:
        """Settle the first tickets of the queue, and put the queue back to be settled again."""
        settle = partial(_settle_batch, campaign_id, issuer=self._issuer, most=self._most)
        try:
            with logs.bound(campaign=campaign_id):
                served = _run_or_none(settle)
        except Exception:
            # The thread settles other queues as well.
            log.exception("a queue can't be settled", campaign=campaign_id)
            served = None
        pause_seconds = 0.0
        if served is None:
            pause_seconds = RETRY_SECONDS
        elif not served and len(self._wanted) > QUEUES_AT_ONCE[self._most]:
            pause_seconds = IDLE_SECONDS
        elif not served:
            stream.wait_for_entry(campaign_id)
        with self._changed:
            heapq.heappush(self._deadlines, (time.monotonic() + pause_seconds, campaign_id))
            self._changed.notify()


def serve(stop: threading.Event, *, on_refresh: Callable[[], None] = lambda: None) -> None:
    """Settle every queue until `stop` is set; waits for Redis or the database while they are unavailable.

    Calls `on_refresh` after each successful refresh of the list of queues, which is every second.
    """
    rotations = {most: _Rotation(most, stop) for most in QUEUES_AT_ONCE}
    try:
        while not stop.is_set():
            if _run_or_none(partial(_refresh, rotations)) is not None:
                on_refresh()
            stop.wait(REFRESH_SECONDS)
    finally:
        # Also after an error: threads that went on would keep a process alive that finds no new queue.
        stop.set()
        for rotation in rotations.values():
            rotation.join()


def serve_once() -> int:
    """Settle the tickets that are queued now. Returns how many.

    Skips a queue whose lease another issuer holds. Raises `Unavailable` without Redis or database.
    """
    issuer = uuid4().hex
    count = 0
    for campaign_id, most in _batch_sizes(clock.now()).items():
        with suppress(stream.LeaseTaken, stream.StreamLost, NoTicketSettled):
            while served := _settle_batch(campaign_id, issuer=issuer, most=most):
                count += served
        stream.release(campaign_id, issuer=issuer)
    return count


def _refresh(rotations: Mapping[int, _Rotation]) -> int:
    """Read which queues there are, and have them settled. Returns how many."""
    batches = _batch_sizes(clock.now())
    for most, rotation in rotations.items():
        rotation.follow({campaign_id for campaign_id, batch in batches.items() if batch == most})
    return len(batches)


def _batch_sizes(now: datetime) -> dict[int, int]:
    """The batch size of each queue: of campaigns that issue coupons now, and of all with waiting tickets.

    A campaign that is paused, or whose partner is unavailable, is left out, and its tickets wait.
    """
    issuable = Campaign.objects.filter(eligibility.issues_at(now), strategy="queue")
    rows = (
        *issuable.values_list("pk", "partner"),
        *tickets.campaigns_with_waiting().exclude(eligibility.is_paused(now)).values_list("pk", "partner"),
    )
    return {
        pk: BATCH_WITH_PARTNER if partner else BATCH
        for pk, partner in rows
        if not (partner and call_limit.is_unavailable(partner))
    }


def _settle_batch(campaign_id: int, *, issuer: str, most: int) -> int:
    """Settle the queue's first tickets; returns how many. Raises `NoTicketSettled` when all must wait."""
    try:
        entries = stream.read(campaign_id, issuer=issuer, most=most)
    except stream.StreamLost:
        recovery.restore(Campaign.objects.get(pk=campaign_id))
        entries = stream.read(campaign_id, issuer=issuer, most=most)
    if not entries:
        return 0
    positions = [entry.position for entry in entries]
    with _observed(campaign_id, positions):
        staying = settlement.settle_tickets(campaign_id=campaign_id, positions=positions)
    leaving = [entry for entry in entries if entry.position.ticket_id not in staying]
    if not leaving:
        raise NoTicketSettled
    stream.remove(campaign_id, leaving)
    return len(leaving)


@contextmanager
def _observed(campaign_id: int, positions: Sequence[QueuePosition]) -> Iterator[None]:
    """Log lines with the tickets' ids, and a span that is linked to the traces of their requests.

    An issuer that is faster than the request that writes the ticket finds no trace: then the ids of the
    requests connect the two.
    """
    read_ids = partial(_ids_of, campaign_id, positions)
    if not tracing.is_on:
        with logs.bound_to(read_ids):
            yield
        return
    links: list[str] = []
    with suppress(Error):
        read = QueueTicket.objects.filter(id__in=[position.ticket_id for position in positions])
        links += read.exclude(traceparent="").values_list("traceparent", flat=True)
    attributes = {
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "queue tickets",
        "messaging.system": "redis",
        **tracing.attributes(read_ids()),
    }
    span = tracing.continued("process queue tickets", "", attributes, kind="consumer", links=links)
    with logs.bound_to(read_ids), span:
        yield


def _ids_of(campaign_id: int, positions: Sequence[QueuePosition]) -> dict[str, Any]:
    each = [
        {"ticket": str(one.ticket_id), "account": one.user_id}
        | ({"request_id": one.by.request_id} if one.by.request_id else {})
        for one in positions
    ]
    return {"campaign": campaign_id} | logs.merge_ids(each)


def _run_or_none(work: Callable[[], int]) -> int | None:
    """The result of the work; None when it can't be done for now and has to be retried."""
    close_old_connections()
    try:
        return work()
    except (stream.LeaseTaken, stream.StreamLost, NoTicketSettled):
        return None
    except (Unavailable, Error) as error:
        log.warning("queues can't be settled for now", error=str(error))
        return None
