"""Serving the lines of all campaigns with the strategy `queue`: the work of `manage.py run_issuer`.

A thread for each line waits at its stream, and settles what comes in batches. Any number of issuers may
run: one has a line's lease, the others wait for it. One that is killed leaves what it had read to the next;
one that was frozen finds its tickets settled.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from uuid import uuid4

from django.db import Error, close_old_connections, connections
from django.db.models import F, Q
from structlog import get_logger

from coupons import restoring, settling, tickets
from coupons.in_redis import line
from coupons.models import Campaign
from coupons.partners import patience
from shop import clock
from shop.errors import Unavailable

log = get_logger(__name__)
BATCH = 256
# A partner is asked about so many, several at once, before the next are looked at.
BATCH_WITH_PARTNER = 32
LOOK_SECONDS = 1.0
RETRY_SECONDS = 1.0


class NotYet(Exception):
    """Nobody who is first in line can be served yet: their partner is waited for, and their places kept."""


@dataclass(slots=True)
class _Lines:
    """Which lines there are to serve, how many at once, and who serves them here."""

    stop: threading.Event
    batches: dict[int, int] = field(default_factory=dict)
    threads: dict[int, threading.Thread] = field(default_factory=dict)


def serve(stop: threading.Event, *, looked: Callable[[], None] = lambda: None) -> None:
    """Serve every line until told to stop; what is away meanwhile is waited for.

    `looked` hears of each look at which lines there are, every second while all is well.
    """
    lines = _Lines(stop)
    try:
        while not stop.is_set():
            if _tried(partial(_look, lines)) is not None:
                looked()
            stop.wait(LOOK_SECONDS)
    finally:
        # Whatever ended this: threads that went on alone would keep a process alive that sees no new line.
        stop.set()
        for thread in lines.threads.values():
            thread.join()


def serve_once() -> int:
    """Serve what stands in the lines now. Returns how many tickets that were.

    A line that another issuer serves is left to it. Raises `Unavailable` without Redis or database.
    """
    issuer = uuid4().hex
    count = 0
    for campaign_id, most in _batches(clock.now()).items():
        with suppress(line.Taken, line.Lost, NotYet):
            while served := _served(campaign_id, issuer=issuer, most=most):
                count += served
        line.release(campaign_id, issuer=issuer)
    return count


def _look(lines: _Lines) -> int:
    """Look which lines there are, and have a thread serve each that is new. Returns how many there are."""
    lines.batches = _batches(clock.now())
    lines.threads = {id: thread for id, thread in lines.threads.items() if thread.is_alive()}
    for campaign_id in lines.batches.keys() - lines.threads.keys():
        thread = threading.Thread(target=_serve_line, args=(lines, campaign_id), name=f"line {campaign_id}")
        lines.threads[campaign_id] = thread
        thread.start()
    return len(lines.batches)


def _batches(now: datetime) -> dict[int, int]:
    """How many to serve at once, by campaign: those open with something left, and all that are waited for.

    While its partner is away a campaign is left alone, and its tickets wait.
    """
    is_open = Q(opens_at__lte=now) & (Q(closes_at__isnull=True) | Q(closes_at__gt=now))
    has_some = Q(quantity__gt=F("issued") + F("confirming"))
    open_ones = Campaign.objects.filter(is_open, has_some, strategy="queue")
    rows = (*open_ones.values_list("pk", "partner"), *tickets.waited_for().values_list("pk", "partner"))
    return {
        pk: BATCH_WITH_PARTNER if partner else BATCH
        for pk, partner in rows
        if not (partner and patience.is_away(partner))
    }


def _serve_line(lines: _Lines, campaign_id: int) -> None:
    """Serve one line for as long as it is there."""
    issuer = uuid4().hex
    log.info("serving a line", campaign=campaign_id)
    try:
        while not lines.stop.is_set() and (most := lines.batches.get(campaign_id)):
            served = _tried(partial(_served, campaign_id, issuer=issuer, most=most))
            if served is None:
                lines.stop.wait(RETRY_SECONDS)
            elif not served:
                line.wait(campaign_id)
    finally:
        line.release(campaign_id, issuer=issuer)
        connections.close_all()


def _served(campaign_id: int, *, issuer: str, most: int) -> int:
    """Settle the first of the line. Returns how many that were; raises `NotYet` when all are to wait."""
    try:
        entries = line.read(campaign_id, issuer=issuer, most=most)
    except line.Lost:
        restoring.restore(Campaign.objects.get(pk=campaign_id))
        entries = line.read(campaign_id, issuer=issuer, most=most)
    if not entries:
        return 0
    staying = settling.settle(campaign_id=campaign_id, places=[entry.place for entry in entries])
    leaving = [entry for entry in entries if entry.place.ticket_id not in staying]
    if not leaving:
        raise NotYet
    line.leave(campaign_id, leaving)
    return len(leaving)


def _tried(work: Callable[[], int]) -> int | None:
    """What the work returns; None when it could not be done for now, and is to be tried again."""
    close_old_connections()
    try:
        return work()
    except (line.Taken, line.Lost, NotYet):
        return None
    except (Unavailable, Error) as error:
        log.warning("lines can't be served for now", error=str(error))
        return None
