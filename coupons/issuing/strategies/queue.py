"""`queue`: whoever asks draws a ticket and is answered at once; an issuer serves the line in its order.

How: one Lua call draws the next number into a Redis stream, the ticket is written by group commit, and
`coupons.queue.worker` settles the line in batches; repeating a request leads to the same ticket.
Promises: exact; positions in the order of the tickets, over all processes. A line that Redis lost is made
anew from the tickets; without Redis 503 for newcomers. With a partner, positions go by its confirmations.
Choose it: when the order must be that of arrival over all processes, and customers can wait for their turn. A
ticket is durable too, so standing in line costs no less than being served by `group_commit`.
"""

from functools import lru_cache

from uuid_utils.compat import uuid7

from coupons.allocation.writes import Asker, Confirming, Issued, Queued
from coupons.models import QueueTicket
from coupons.queue import recovery, stream, tickets
from coupons.queue.stream import Entry, Place
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.errors import Unavailable

CAMPAIGNS = 1_024
ATTEMPTS = 3


def issue(*, campaign_id: int, user_id: int) -> Issued | Confirming | Queued:
    """Answer with what the account has of the campaign, or else draw a ticket for it."""
    asker = Asker(user_id)
    for _ in range(ATTEMPTS):
        found = _looking(campaign_id).submit(asker)
        if not isinstance(found, tickets.Free):
            return found
        queued = _queued(found, asker)
        if queued:
            return queued
    raise Unavailable("The line of this campaign is being put in order; ask again.")


def _queued(free: tickets.Free, asker: Asker) -> Queued | None:
    """The account's ticket, once it is durable; nothing when Redis still had one that was settled before."""
    new = Place(uuid7(), 0, asker.user_id, clock.now(), asker.by)
    place = _drawn(free, new)
    queued = _writing(free.campaign.pk).submit(place)
    if queued.ticket.status == QueueTicket.Status.WAITING or place.ticket_id == new.ticket_id:
        return queued
    stream.leave(free.campaign.pk, [Entry(id="", place=place)])
    return None


def _drawn(free: tickets.Free, new: Place) -> Place:
    for _ in range(ATTEMPTS):
        try:
            return stream.draw(free.campaign, new, after=free.last_number)
        except stream.Lost:
            recovery.restore(free.campaign)
    raise Unavailable("The line of this campaign was lost again; ask again.")


@lru_cache(maxsize=CAMPAIGNS)
def _looking(campaign_id: int) -> Batcher[Asker, tickets.Seen]:
    """Who has what, read for all who ask at once."""
    return Batcher(lambda askers: tickets.look(campaign_id, askers))


@lru_cache(maxsize=CAMPAIGNS)
def _writing(campaign_id: int) -> Batcher[Place, Queued]:
    return Batcher(lambda places: tickets.write(campaign_id, places))
