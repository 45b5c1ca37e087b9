"""Restoring the line of a campaign in Redis from the tickets that wait in the database.

A line that is gone is made anew, in the order of the numbers. A single ticket that is missing from it joins
at the end: it was written while the line got lost, or its partner has not answered yet.
"""

import threading
from collections.abc import Iterable, Sequence
from datetime import timedelta

from structlog import get_logger

from coupons.models import Campaign, QueueTicket
from coupons.queue import stream, tickets
from coupons.queue.stream import QueuePosition
from shop import clock
from shop.errors import Unavailable
from shop.events import journal

log = get_logger(__name__)
# Younger ones are being written, or decided.
SECONDS_IN_FLIGHT = 5
MOST_AT_ONCE = 1_000
_restoring = threading.Lock()


def restore(campaign: Campaign) -> None:
    """Make the campaign's line anew, unless it is there; one thread of this process does, others wait.

    Raises `Unavailable` without Redis.
    """
    with _restoring:
        if stream.is_there(campaign.pk):
            return
        # The number is read last: whoever waits is among those up to it.
        waiting = tickets.waiting_tickets(campaign.pk).order_by("number", "id")
        places = _positions(waiting)
        stream.load(campaign, places, last_number=tickets.last_number(campaign.pk))
        if places:
            log.warning("a line was made anew", campaign=campaign.pk, waiting=len(places))


def requeue_missing() -> int:
    """Put tickets that wait, and are in no line, back into it. Returns how many that were.

    The lines' first thousand are looked at; without Redis nobody is.
    """
    try:
        return sum(_requeue_missing(campaign) for campaign in tickets.campaigns_with_waiting())
    except Unavailable:
        return 0


def _requeue_missing(campaign: Campaign) -> int:
    long_ago = clock.now() - timedelta(seconds=SECONDS_IN_FLIGHT)
    waiting = tickets.waiting_tickets(campaign.pk).order_by("number", "id")[:MOST_AT_ONCE]
    places = [place for place in _positions(waiting) if place.at < long_ago]
    try:
        count = stream.append_missing(campaign, places) if places else 0
    except stream.StreamLost:
        restore(campaign)
        count = len(places)
    if count:
        log.info("tickets were put back into the line", campaign=campaign.pk, tickets=count)
    return count


def _positions(waiting: Iterable[QueueTicket]) -> Sequence[QueuePosition]:
    """Their places; who asked on whose behalf was lost with the line."""
    return [
        QueuePosition(ticket.pk, ticket.number, ticket.account_id, ticket.created_at, journal.SYSTEM)
        for ticket in waiting
    ]
