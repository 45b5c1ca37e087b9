"""Settles the queues of all campaigns with the strategy `queue`: the work of `manage.py run_issuer`.

A few threads settle any number of queues in turn; those with a partner, which are slow, have threads of their
own. Of several issuers one holds a queue's lease. The entries that a killed one had read go to the next; one
that was frozen finds its tickets settled.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from django.db import Error, close_old_connections
from structlog import get_logger

from coupons.allocation import eligibility
from coupons.models import Campaign, QueueTicket
from coupons.partners import call_limit
from coupons.queue import settlement, stream, tickets
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
# How often the list of queues is read, and with it those that were empty or could not be settled; half as
# often while there is none.
REFRESH_SECONDS = 0.5


class NoTicketSettled(Exception):
    """None of the first tickets can be settled before their partner answers; they keep their positions."""


class _Rotation:
    """Queues that a few threads settle in turn, up to `most` tickets at a time."""

    def __init__(self, most: int, stop: threading.Event) -> None:
        self._most = most
        self._stop = stop
        self._issuer = uuid4().hex
        self._at_once = QUEUES_AT_ONCE[most]
        self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix=f"queues {most}")
        self._wanted: Collection[int] = ()
        # Queues that wait for their turn, or are being settled by one thread.
        self._busy: set[int] = set()

    def follow(self, campaign_ids: Collection[int]) -> None:
        """Settle these queues from now on, and release the others."""
        before, self._wanted = self._wanted, campaign_ids
        for campaign_id in {*before, *campaign_ids} - self._busy:
            self._busy.add(campaign_id)
            self._threads.submit(self._serve, campaign_id)

    def join(self) -> None:
        """Return once all threads have ended, after `stop` was set, and release all queues."""
        self._threads.shutdown(cancel_futures=True)
        for campaign_id in {*self._wanted, *self._busy}:
            stream.release(campaign_id, issuer=self._issuer)

    def _serve(self, campaign_id: int) -> None:
        """Settle the first tickets of the queue, and put the queue back, unless it is empty or fails."""
        if campaign_id not in self._wanted:
            stream.release(campaign_id, issuer=self._issuer)
            self._busy.discard(campaign_id)
            return
        try:
            with logs.bound(campaign=campaign_id):
                settle = partial(_settle_batch, campaign_id, issuer=self._issuer, most=self._most)
                served = _run_or_none(settle)
        except Exception:
            log.exception("a queue can't be settled", campaign=campaign_id)
            served = None
        is_idle = served == 0 and len(self._wanted) <= self._at_once
        if is_idle:
            stream.wait_for_entry(campaign_id)
        if (served or is_idle or campaign_id not in self._wanted) and not self._stop.is_set():
            self._threads.submit(self._serve, campaign_id)
        else:
            self._busy.discard(campaign_id)


def serve(stop: threading.Event, *, on_refresh: Callable[[], None] = lambda: None) -> None:
    """Settle every queue until `stop` is set; `on_refresh` is called after each refresh of their list."""
    rotations = {most: _Rotation(most, stop) for most in QUEUES_AT_ONCE}
    try:
        while not stop.is_set():
            queues = _run_or_none(partial(_refresh, rotations))
            if queues is not None:
                on_refresh()
            stop.wait(2 * REFRESH_SECONDS if queues == 0 else REFRESH_SECONDS)
    finally:
        # Also after an error: threads that went on would keep a process alive that finds no new queue.
        stop.set()
        for rotation in rotations.values():
            rotation.join()


def serve_once() -> int:
    """Settle the tickets that are queued now, but for queues of other issuers. Returns how many."""
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
    """The batch size of each queue that is neither paused nor without its partner: open, or with tickets."""
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
        positions = stream.read(campaign_id, issuer=issuer, most=most)
    except stream.StreamLost:
        tickets.restore_queue(Campaign.objects.get(pk=campaign_id))
        positions = stream.read(campaign_id, issuer=issuer, most=most)
    if not positions:
        return 0
    with _observed(campaign_id, positions):
        staying = settlement.settle_tickets(campaign_id=campaign_id, positions=positions)
    leaving = [position for position in positions if position.ticket_id not in staying]
    if not leaving:
        raise NoTicketSettled
    stream.remove(campaign_id, leaving)
    return len(leaving)


@contextmanager
def _observed(campaign_id: int, positions: Sequence[QueuePosition]) -> Iterator[None]:
    """Log lines with the tickets' ids, and a span that is linked to the traces of their requests."""
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
