"""`queue`: a request gets a ticket at once; an issuer process issues the coupons in the order of the tickets.

One Lua call draws the next number into a Redis stream, the ticket is written by group commit, and
`coupons.queue.worker` settles the queue in batches. Exact; positions in the order of the tickets over all
processes, with a partner in that of its confirmations. A queue that Redis lost is restored from the tickets;
without Redis new requests get 503.
"""

from dataclasses import replace
from functools import lru_cache

from uuid_utils.compat import uuid7

from coupons import CAMPAIGNS_AT_ONCE
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation, Queued
from coupons.models import QueueTicket
from coupons.queue import recovery, stream, tickets
from coupons.queue.stream import QueuePosition, StreamEntry
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.errors import Unavailable
from shop.lazy_texts import mark as _

ATTEMPTS = 3


def issue(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation | Queued:
    """Return the account's existing coupon or ticket of the campaign, or else draw a ticket for it."""
    request = IssueRequest(user_id)
    for _attempt in range(ATTEMPTS):
        found = _lookup_batcher(campaign_id).submit(request)
        if not isinstance(found, tickets.Eligible):
            return found
        queued = _write_ticket(found, request)
        if queued:
            return queued
    raise Unavailable(_("The queue of this campaign is being restored; try again."))


def _write_ticket(free: tickets.Eligible, request: IssueRequest) -> Queued | None:
    """The account's ticket, once it is durable; None when Redis still had one that was settled before."""
    new = QueuePosition(uuid7(), 0, request.user_id, clock.now(), request.by)
    position = _enqueue(free, new)
    if position.ticket_id == new.ticket_id:
        # Redis keeps the actor without its trace.
        position = replace(position, by=request.by)
    queued = _write_batcher(free.campaign.pk).submit(position)
    if queued.ticket.status == QueueTicket.Status.WAITING or position.ticket_id == new.ticket_id:
        return queued
    stream.remove(free.campaign.pk, [StreamEntry(id="", position=position)])
    return None


def _enqueue(free: tickets.Eligible, new: QueuePosition) -> QueuePosition:
    for _attempt in range(ATTEMPTS):
        try:
            return stream.enqueue(free.campaign, new, after=free.last_number)
        except stream.StreamLost:
            recovery.restore(free.campaign)
    raise Unavailable(_("The queue of this campaign was lost again; try again."))


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _lookup_batcher(campaign_id: int) -> Batcher[IssueRequest, tickets.TicketLookup]:
    """Reads the existing coupons and tickets of concurrent requests together."""
    return Batcher(
        lambda requests: tickets.read_existing_results(campaign_id, requests), name="queue_lookups"
    )


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _write_batcher(campaign_id: int) -> Batcher[QueuePosition, Queued]:
    return Batcher(lambda positions: tickets.write(campaign_id, positions), name="queue_tickets")
