"""Serving the lines of all campaigns with the strategy `queue`: the work of `manage.py run_issuer`.

A few threads serve any number of lines: each takes the line that is due for longest, settles a batch of it,
and puts it back. Lines whose partner is asked have threads of their own, for partners are slow. Any number of
issuers may run: one has a line's lease, the others wait for it. One that is killed leaves what it had read to
the next; one that was frozen finds its tickets settled.
"""

import heapq
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from uuid import uuid4

from django.db import Error, close_old_connections, connections
from django.db.models import F, Q
from structlog import get_logger

from coupons.models import Campaign
from coupons.partners import patience
from coupons.queue import recovery, settlement, stream, tickets
from shop import clock
from shop.errors import Unavailable

log = get_logger(__name__)
BATCH = 256
# A partner is asked about so many, several at once, before the next are looked at.
BATCH_WITH_PARTNER = 32
# How many of each are served at once, a thread and a connection for each; one with a partner has 16 threads
# more while it asks (`coupons.queue.settlement`).
QUEUES_AT_ONCE = {BATCH: 8, BATCH_WITH_PARTNER: 2}
REFRESH_SECONDS = 1.0
RETRY_SECONDS = 1.0
# How soon an empty line is looked at again where there are more lines than threads.
IDLE_SECONDS = 0.5


class NoTicketSettled(Exception):
    """Nobody who is first in line can be served yet: their partner is waited for, and their places kept."""


class _Rotation:
    """Lines that a few threads serve in turn, a batch of so many at a time."""

    def __init__(self, most: int, stop: threading.Event) -> None:
        self._most = most
        self._stop = stop
        self._issuer = uuid4().hex
        self._wanted: Collection[int] = ()
        # All lines that wait for their turn, each from a moment on, or are served now by one thread.
        self._known: set[int] = set()
        self._deadlines: list[tuple[float, int]] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []

    def follow(self, campaign_ids: Collection[int]) -> None:
        """Serve these lines from now on, and let go of the others."""
        with self._changed:
            self._wanted = campaign_ids
            for campaign_id in set(campaign_ids) - self._known:
                self._known.add(campaign_id)
                heapq.heappush(self._deadlines, (time.monotonic(), campaign_id))
            self._changed.notify_all()
        for number in range(len(self._threads), min(len(campaign_ids), QUEUES_AT_ONCE[self._most])):
            thread = threading.Thread(target=self._serve, name=f"lines {self._most} {number}")
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Return once all threads have ended, after `stop` was set, and let go of all lines."""
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
        """Wait for the line that is due first, and take it; None once `stop` is set."""
        with self._changed:
            while not self._stop.is_set():
                wait_seconds = (
                    self._deadlines[0][0] - time.monotonic() if self._deadlines else REFRESH_SECONDS
                )
                if wait_seconds <= 0:
                    return heapq.heappop(self._deadlines)[1]
                self._changed.wait(min(wait_seconds, REFRESH_SECONDS))
        return None

    def _put_back(self, campaign_id: int, *, pause_seconds: float) -> None:
        with self._changed:
            heapq.heappush(self._deadlines, (time.monotonic() + pause_seconds, campaign_id))
            self._changed.notify()

    def _serve_batch(self, campaign_id: int) -> None:
        """Serve the first of the line, and put it back to be served again."""
        try:
            served = _run_or_none(partial(_settle_batch, campaign_id, issuer=self._issuer, most=self._most))
        except Exception:
            # The thread serves other lines as well.
            log.exception("a line can't be served", campaign=campaign_id)
            served = None
        pause_seconds = 0.0
        if served is None:
            pause_seconds = RETRY_SECONDS
        elif not served and len(self._wanted) > QUEUES_AT_ONCE[self._most]:
            pause_seconds = IDLE_SECONDS
        elif not served:
            stream.wait_for_entry(campaign_id)
        self._put_back(campaign_id, pause_seconds=pause_seconds)


def serve(stop: threading.Event, *, on_refresh: Callable[[], None] = lambda: None) -> None:
    """Serve every line until told to stop; what is away meanwhile is waited for.

    `looked` hears of each look at which lines there are, every second while all is well.
    """
    rotations = {most: _Rotation(most, stop) for most in QUEUES_AT_ONCE}
    try:
        while not stop.is_set():
            if _run_or_none(partial(_refresh, rotations)) is not None:
                on_refresh()
            stop.wait(REFRESH_SECONDS)
    finally:
        # Whatever ended this: threads that went on alone would keep a process alive that sees no new line.
        stop.set()
        for rotation in rotations.values():
            rotation.join()


def serve_once() -> int:
    """Serve what stands in the lines now. Returns how many tickets that were.

    A line that another issuer serves is left to it. Raises `Unavailable` without Redis or database.
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
    """Look which lines there are, and have them served. Returns how many there are."""
    batches = _batch_sizes(clock.now())
    for most, rotation in rotations.items():
        rotation.follow({campaign_id for campaign_id, batch in batches.items() if batch == most})
    return len(batches)


def _batch_sizes(now: datetime) -> dict[int, int]:
    """How many to serve at once, by campaign: those open with something left, and all that are waited for.

    While its partner is away a campaign is left alone, and its tickets wait.
    """
    is_open = Q(opens_at__lte=now) & (Q(closes_at__isnull=True) | Q(closes_at__gt=now))
    has_some = Q(quantity__gt=F("issued") + F("confirming"))
    open_ones = Campaign.objects.filter(is_open, has_some, strategy="queue")
    rows = (
        *open_ones.values_list("pk", "partner"),
        *tickets.campaigns_with_waiting().values_list("pk", "partner"),
    )
    return {
        pk: BATCH_WITH_PARTNER if partner else BATCH
        for pk, partner in rows
        if not (partner and patience.is_unavailable(partner))
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
    staying = settlement.settle_tickets(campaign_id=campaign_id, places=[entry.place for entry in entries])
    leaving = [entry for entry in entries if entry.place.ticket_id not in staying]
    if not leaving:
        raise NoTicketSettled
    stream.remove(campaign_id, leaving)
    return len(leaving)


def _run_or_none(work: Callable[[], int]) -> int | None:
    """What the work returns; None when it could not be done for now, and is to be tried again."""
    close_old_connections()
    try:
        return work()
    except (stream.LeaseTaken, stream.StreamLost, NoTicketSettled):
        return None
    except (Unavailable, Error) as error:
        log.warning("lines can't be served for now", error=str(error))
        return None
