"""Queue tickets: an account's position in the queue of a campaign, as the database keeps it.

A number is drawn in Redis, and durable once its ticket is written here. Tickets are written and settled only
while the campaign's row is locked, so the holder of that lock reads each ticket's current status.

A queue that Redis lost is restored from the tickets, in the order of the numbers. A single missing ticket is
appended to the end: it was written while the queue was lost, or its partner has not answered yet.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Exists, Max, OuterRef, QuerySet, Subquery
from structlog import get_logger

from coupons import rows
from coupons.allocation import allocating
from coupons.allocation.outcomes import (
    AllocationResult,
    Issued,
    IssueRequest,
    PendingConfirmation,
    Queued,
    Slot,
)
from coupons.metrics import counters
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.queue import stream
from coupons.queue.stream import QueuePosition
from coupons.redis_keys import fill_lock
from foundation import clock, journal
from foundation.concurrency.batching import Batcher
from foundation.db import open_transaction, transactions
from foundation.errors import FirstcomeError, NotFound, Rejected, Unavailable
from foundation.lazy_texts import mark
from foundation.observability import tracing

log = get_logger(__name__)
Status = QueueTicket.Status
# So many of the first waiting tickets are counted one by one; beyond them the numbers are assumed without
# gaps.
COUNTED_EXACTLY = 100
# Younger tickets are still being written, or decided.
SECONDS_IN_FLIGHT = 5
MOST_AT_ONCE = 1_000


class EndOfQueue(NamedTuple):
    """Where an account that has no ticket may get one: `last_number` is the last waiting number."""

    campaign: Campaign
    last_number: int


TicketLookup = Slot | Queued | EndOfQueue


def read_existing_results(
    campaign_id: int, requests: Sequence[IssueRequest]
) -> list[TicketLookup | FirstcomeError]:
    """Each account's coupon, waiting ticket or refusal; `EndOfQueue` if it may get a ticket."""
    user_ids = {request.user_id for request in requests}
    applicants = allocating.read_campaign(campaign_id, user_ids)
    campaign = applicants.campaign
    existing = applicants.existing
    waiting = first_waiting_tickets(campaign, user_ids)
    without_result = user_ids - existing.keys() - waiting.keys()
    numbers = waiting_tickets(campaign_id).order_by("-number").values_list("number", flat=True)
    free = EndOfQueue(campaign, (numbers.first() or 0) if without_result else 0)

    def found(user_id: int) -> TicketLookup | FirstcomeError:
        ticket = None if isinstance(existing.get(user_id), Coupon) else waiting.get(user_id)
        return ticket or applicants.answer(user_id) or free

    return [found(request.user_id) for request in requests]


def first_waiting_tickets(campaign: Campaign, user_ids: Collection[int]) -> dict[int, Queued]:
    """The first waiting tickets of these accounts."""
    rows = waiting_tickets(campaign.pk).filter(account_id__in=user_ids).order_by("-number")
    first = {ticket.account_id: ticket for ticket in rows}
    numbers = _first_waiting_numbers(campaign.pk) if first else []
    return {
        user_id: _to_queued(_with_campaign(ticket, campaign), numbers) for user_id, ticket in first.items()
    }


def write(campaign_id: int, positions: Sequence[QueuePosition]) -> list[Queued]:
    """The tickets of these positions, written unless they exist; an issuer may have settled one already."""
    written = get_or_create(Campaign.objects.select_for_update().get(pk=campaign_id), positions)
    numbers = _first_waiting_numbers(campaign_id)
    return [_to_queued(written[position.ticket_id], numbers) for position in positions]


def get_or_create(campaign: Campaign, positions: Sequence[QueuePosition]) -> dict[UUID, QueueTicket]:
    """The tickets of these positions by id, created where missing. The campaign must be locked."""
    open_transaction.assert_inside()
    ids = [one.ticket_id for one in positions]
    written = QueueTicket.objects.select_related("coupon").in_bulk(ids)
    fresh = {one.ticket_id: one for one in positions if one.ticket_id not in written}
    tickets = [
        QueueTicket(
            id=one.ticket_id,
            campaign=campaign,
            account_id=one.user_id,
            number=one.number,
            traceparent=one.by.traceparent if tracing.is_recorded(one.by.traceparent) else "",
            created_at=one.at,
        )
        for one in fresh.values()
    ]
    QueueTicket.objects.bulk_create(tickets)
    written |= {ticket.pk: ticket for ticket in tickets}
    return {pk: _with_campaign(ticket, campaign) for pk, ticket in written.items()}


def record_results(campaign_id: int, outcomes: Mapping[UUID, AllocationResult]) -> None:
    """Record the results of these waiting tickets of the campaign.

    A ticket whose slot is still being confirmed, or being cancelled at the partner, goes on waiting.
    """
    open_transaction.assert_inside()
    ids: dict[Status, list[UUID]] = defaultdict(list)
    for ticket_id, outcome in outcomes.items():
        ids[_ticket_status(outcome)].append(ticket_id)
    waiting = QueueTicket.objects.filter(status=Status.WAITING)
    coupon = Coupon.objects.filter(account=OuterRef("account"), campaign=OuterRef("campaign"))
    for status in (Status.SOLD_OUT, Status.FAILED):
        if status in ids:
            ended = waiting.filter(pk__in=ids[status]).update(status=status)
            open_transaction.count_after_commit(
                counters.count_outcomes, [(campaign_id, status.value)] * ended
            )
    if Status.ISSUED in ids:
        issued = waiting.filter(pk__in=ids[Status.ISSUED])
        issued.update(status=Status.ISSUED, coupon=Subquery(coupon.values("pk")))


def require_owner(queued: Queued, owner_id: int | None) -> Queued:
    """The ticket, if it belongs to this account; any ticket with None. Raises `NotFound`."""
    if owner_id not in (None, queued.ticket.account_id):
        raise _not_found(queued.ticket.pk)
    return queued


def _read(ticket_ids: Sequence[UUID]) -> list[Queued | NotFound]:
    """These tickets now, read by two statements and one more for each campaign with waiting ones."""
    found = QueueTicket.objects.select_related("coupon__campaign").in_bulk(ticket_ids)
    campaigns = {ticket.campaign_id for ticket in found.values() if ticket.status == Status.WAITING}
    numbers = {campaign_id: _first_waiting_numbers(campaign_id) for campaign_id in campaigns}
    return [
        _to_queued(found[id], numbers.get(found[id].campaign_id, ())) if id in found else _not_found(id)
        for id in ticket_ids
    ]


def _not_found(ticket_id: UUID) -> NotFound:
    return NotFound(mark("There is no queue ticket {ticket_id}.", ticket_id=ticket_id))


READER: Batcher[UUID, Queued] = Batcher(_read, name="ticket_status", run=transactions.read)
"""Reads tickets; concurrent reads share their statements."""


def waiting_tickets(campaign_id: int | OuterRef) -> "QuerySet[QueueTicket]":
    """The tickets that wait for the campaign."""
    return QueueTicket.objects.filter(campaign_id=campaign_id, status=Status.WAITING)


def campaigns_with_waiting() -> "QuerySet[Campaign]":
    """The campaigns that have waiting tickets."""
    return Campaign.objects.filter(Exists(waiting_tickets(OuterRef("pk"))))


def count_waiting() -> dict[str, int]:
    """The number of waiting tickets, by campaign."""
    counted = waiting_tickets(OuterRef("pk")).order_by().values("campaign").annotate(number=Count("pk"))
    rows = campaigns_with_waiting().annotate(waiting=Subquery(counted.values("number")))
    return {str(pk): number or 0 for pk, number in rows.values_list("pk", "waiting")}


def longest_wait_seconds() -> dict[str, float]:
    """For how many seconds the first ticket of the queue has waited, by campaign that is not paused."""
    first = waiting_tickets(OuterRef("pk")).order_by("number").values("created_at")[:1]
    now = clock.now()
    moving = campaigns_with_waiting().exclude(rows.is_paused(now))
    waiting = moving.annotate(since=Subquery(first)).values_list("pk", "since")
    return {str(pk): (now - since).total_seconds() for pk, since in waiting if since}


def last_number(campaign_id: int) -> int:
    """The greatest number that was drawn and written."""
    return int(QueueTicket.objects.filter(campaign_id=campaign_id).aggregate(last=Max("number"))["last"] or 0)


def _first_waiting_numbers(campaign_id: int) -> list[int]:
    """The first waiting numbers, in order."""
    numbers = waiting_tickets(campaign_id).order_by("number").values_list("number", flat=True)
    return list(numbers[:COUNTED_EXACTLY])


def _to_queued(ticket: QueueTicket, first_numbers: Sequence[int]) -> Queued:
    """The ticket, and how many waiting tickets come before it."""
    number = ticket.number
    if ticket.status != Status.WAITING:
        return Queued(ticket, ahead=0)
    if len(first_numbers) < COUNTED_EXACTLY or number <= first_numbers[-1]:
        return Queued(ticket, ahead=bisect_left(first_numbers, number))
    return Queued(ticket, ahead=COUNTED_EXACTLY + number - first_numbers[-1] - 1)


def _with_campaign(ticket: QueueTicket, campaign: Campaign) -> QueueTicket:
    """The ticket with its campaign loaded, also on its coupon."""
    ticket.campaign = campaign
    if ticket.coupon:
        ticket.coupon.campaign = campaign
    return ticket


def _ticket_status(outcome: AllocationResult) -> Status:
    match outcome:
        case Issued():
            return Status.ISSUED
        case PendingConfirmation() | Unavailable():
            return Status.WAITING
        case Rejected(code="sold_out"):
            return Status.SOLD_OUT
    return Status.FAILED


def restore_queue(campaign: Campaign) -> None:
    """Load the campaign's queue into Redis unless it is there. Raises `Unavailable` without Redis."""
    with fill_lock(campaign.pk):
        try:
            stream.append(campaign, ())
        except stream.StreamLost:
            # The last number is read after the tickets, so that it is not below any of them.
            positions = _positions(waiting_tickets(campaign.pk).order_by("number", "id"))
            stream.append(campaign, positions, last_number=last_number(campaign.pk))
            if positions:
                log.warning("a queue was restored", campaign=campaign.pk, waiting=len(positions))


def requeue_missing() -> int:
    """Append waiting tickets that are missing from their queue in Redis. Returns how many.

    Checks the first thousand tickets of each queue, and none without Redis.
    """
    try:
        return sum(_requeue_missing(campaign) for campaign in campaigns_with_waiting())
    except Unavailable:
        return 0


def _requeue_missing(campaign: Campaign) -> int:
    long_ago = clock.now() - timedelta(seconds=SECONDS_IN_FLIGHT)
    waiting = waiting_tickets(campaign.pk).order_by("number", "id")[:MOST_AT_ONCE]
    positions = [position for position in _positions(waiting) if position.at < long_ago]
    try:
        count = stream.append(campaign, positions) if positions else 0
    except stream.StreamLost:
        restore_queue(campaign)
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
