"""`queue`: a request gets a ticket at once; an issuer process issues the coupons in the order of the tickets.

One Lua call draws the next number into a Redis stream, the ticket is written by group commit, and
`coupons.queue.worker` settles the queue in batches. Exact; positions in the order of the tickets over all
processes, with a partner in that of its confirmations. A queue that Redis lost is restored from the tickets;
without Redis new requests get 503.
"""

from functools import lru_cache

from uuid_utils.compat import uuid7

from coupons import CAMPAIGNS_AT_ONCE
from coupons.allocation.outcomes import IssueRequest, Queued, Slot
from coupons.models import QueueTicket
from coupons.queue import stream, tickets
from coupons.queue.stream import QueuePosition
from foundation import clock
from foundation.concurrency.batching import Batcher
from foundation.errors import Unavailable
from foundation.lazy_texts import mark

ATTEMPTS = 3


def issue(*, campaign_id: int, user_id: int) -> Slot | Queued:
    """Return the account's existing coupon or ticket of the campaign, or else draw a ticket for it."""
    request = IssueRequest(user_id)
    for _attempt in range(ATTEMPTS):
        found = _lookup_batcher(campaign_id).submit(request)
        if not isinstance(found, tickets.EndOfQueue):
            return found
        new = QueuePosition(uuid7(), 0, user_id, clock.now(), request.by)
        try:
            position = stream.enqueue(found.campaign, new, after=found.last_number)
        except stream.StreamLost:
            tickets.restore_queue(found.campaign)
            continue
        is_new = position.ticket_id == new.ticket_id
        # Redis keeps the actor without its trace.
        queued = _write_batcher(campaign_id).submit(position._replace(by=request.by) if is_new else position)
        if is_new or queued.ticket.status == QueueTicket.Status.WAITING:
            return queued
        # Redis still had one that was settled before.
        stream.remove(campaign_id, [position])
    raise Unavailable(mark("The queue of this campaign is being restored; try again."))


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _lookup_batcher(campaign_id: int) -> Batcher[IssueRequest, tickets.TicketLookup]:
    """Reads the existing coupons and tickets of concurrent requests together."""
    return Batcher(
        lambda requests: tickets.read_existing_results(campaign_id, requests), name="queue_lookups"
    )


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _write_batcher(campaign_id: int) -> Batcher[QueuePosition, Queued]:
    return Batcher(lambda positions: tickets.write(campaign_id, positions), name="queue_tickets")
