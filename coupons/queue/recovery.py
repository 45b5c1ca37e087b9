"""Restores the queue of a campaign in Redis from the waiting tickets in the database.

A queue that is missing is loaded again, in the order of the numbers. A single missing ticket is appended to
the end: it was written while the queue was lost, or its partner has not answered yet.
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
# Younger tickets are still being written, or decided.
SECONDS_IN_FLIGHT = 5
MOST_AT_ONCE = 1_000
_restoring = threading.Lock()


def restore(campaign: Campaign) -> None:
    """Load the campaign's queue unless it is there; one thread of this process does it, the others wait.

    Raises `Unavailable` without Redis.
    """
    with _restoring:
        if stream.is_there(campaign.pk):
            return
        # The last number is read after the tickets, so that it is not below any of them.
        waiting = tickets.waiting_tickets(campaign.pk).order_by("number", "id")
        positions = _positions(waiting)
        stream.load(campaign, positions, last_number=tickets.last_number(campaign.pk))
        if positions:
            log.warning("a queue was restored", campaign=campaign.pk, waiting=len(positions))


def requeue_missing() -> int:
    """Append waiting tickets that are missing from their queue in Redis. Returns how many.

    Checks the first thousand tickets of each queue, and none without Redis.
    """
    try:
        return sum(_requeue_missing(campaign) for campaign in tickets.campaigns_with_waiting())
    except Unavailable:
        return 0


def _requeue_missing(campaign: Campaign) -> int:
    long_ago = clock.now() - timedelta(seconds=SECONDS_IN_FLIGHT)
    waiting = tickets.waiting_tickets(campaign.pk).order_by("number", "id")[:MOST_AT_ONCE]
    positions = [position for position in _positions(waiting) if position.at < long_ago]
    try:
        count = stream.append_missing(campaign, positions) if positions else 0
    except stream.StreamLost:
        restore(campaign)
        count = len(positions)
    if count:
        log.info("missing tickets were queued again", campaign=campaign.pk, tickets=count)
    return count


def _positions(waiting: Iterable[QueueTicket]) -> Sequence[QueuePosition]:
    """The positions of these tickets; the actors of their requests were lost with the queue."""
    return [
        QueuePosition(ticket.pk, ticket.number, ticket.account_id, ticket.created_at, journal.SYSTEM)
        for ticket in waiting
    ]
