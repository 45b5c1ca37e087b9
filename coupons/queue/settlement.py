"""Settles the first tickets of a queue: decides them in their order, all in one transaction.

Every ticket is settled once, however many issuers try: the campaign's row is locked, and a ticket that no
longer waits is left as it is. A partner's slots are taken in this order, and become coupons as it confirms.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db import DatabaseError, DataError, IntegrityError, connections
from structlog import get_logger

from coupons.allocation import eligibility
from coupons.allocation.eligibility import AllocationResult, Applicants
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign, QueueTicket
from coupons.partners import call_limit, confirmation
from coupons.partners.contract import NotReached
from coupons.queue import tickets
from coupons.queue.stream import QueuePosition
from shop.db import transactions
from shop.errors import FirstcomeError, PartnerFailed, Rejected
from shop.journal import journal
from shop.journal.journal import ActorContext
from shop.lazy_texts import mark as _
from shop.observability import logs, tracing
from shop.redis import completion_notifications

log = get_logger(__name__)
PARTNER_THREADS = 16


def settle_tickets(*, campaign_id: int, positions: Sequence[QueuePosition]) -> set[UUID]:
    """Settle the tickets at these positions in their order, and call the partner if there is one.

    Durable on return, and safe to repeat. Returns the tickets that keep their position: of a paused campaign,
    with no slot left while one may be released, or whose partner was not reached. One whose partner doesn't
    answer goes on waiting with its slot. Raises `Unavailable` without the database.
    """
    try:
        pending, undecided = transactions.run(lambda: _decide(campaign_id, positions), transactions.KEYED)
    except (DataError, IntegrityError) as error:
        if len(positions) == 1:
            _mark_failed(campaign_id, positions[0], error)
            return set()
        staying = [settle_tickets(campaign_id=campaign_id, positions=[position]) for position in positions]
        return set[UUID]().union(*staying)
    if not pending:
        _notify_waiters(positions)
        return undecided
    actors = {position.ticket_id: position.by for position in positions}
    confirm = partial(_confirm_slot, tracing.traceparent())
    asked = call_limit.call_at_once(
        confirm, pending.values(), [actors[id] for id in pending], threads=PARTNER_THREADS
    )
    outcomes: dict[UUID, AllocationResult] = dict(zip(pending, asked, strict=True))
    # A partner that was not reached has not refused, although the slot is released.
    unreached = {
        id
        for id, one in outcomes.items()
        if isinstance(one, PartnerFailed) and isinstance(one.__cause__, NotReached)
    }
    final = {id: outcome for id, outcome in outcomes.items() if id not in unreached}
    transactions.run(lambda: tickets.record_results(campaign_id, final), transactions.REPEATABLE)
    _notify_waiters(positions)
    return undecided | unreached


def _notify_waiters(positions: Sequence[QueuePosition]) -> None:
    """Wake the requests that wait for these tickets; each reads its ticket again."""
    completion_notifications.notify_completed(*(str(position.ticket_id) for position in positions))


def _decide(
    campaign_id: int, positions: Sequence[QueuePosition]
) -> tuple[dict[UUID, PendingConfirmation], set[UUID]]:
    """Decide the waiting tickets; returns the slots for the partner to confirm, and the tickets that wait on.

    Those are of a paused campaign, or sold out while slots of others may still be released.
    """
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    written = tickets.get_or_create(campaign, positions)
    waiting = [
        position
        for position in {one.ticket_id: one for one in positions}.values()
        if written[position.ticket_id].status == QueueTicket.Status.WAITING
    ]
    if not waiting:
        return {}, set()
    applicants = Applicants(campaign, {position.user_id for position in waiting})
    requests = [IssueRequest(position.user_id, position.by) for position in waiting]
    outcomes = eligibility.allocate(applicants, requests)
    outcome_of = {position.ticket_id: outcome for position, outcome in zip(waiting, outcomes, strict=True)}
    passing = {"campaign_paused", "sold_out"} if campaign.confirming else {"campaign_paused"}
    undecided = {id for id, one in outcome_of.items() if isinstance(one, Rejected) and one.code in passing}
    tickets.record_results(
        campaign_id, {id: outcome for id, outcome in outcome_of.items() if id not in undecided}
    )
    return {
        id: outcome for id, outcome in outcome_of.items() if isinstance(outcome, PendingConfirmation)
    }, undecided


def _confirm_slot(traceparent: str, slot: PendingConfirmation, by: ActorContext) -> Issued | FirstcomeError:
    try:
        with (
            journal.acting(by),
            logs.bound(request_id=by.request_id),
            tracing.shared("confirm coupon", [traceparent]),
        ):
            return confirmation.ask_partner(slot)
    except FirstcomeError as error:
        return error
    finally:
        connections.close_all()


def _mark_failed(campaign_id: int, position: QueuePosition, error: DatabaseError) -> None:
    """Fail a ticket for which no coupon can be written: most likely its account was deleted."""
    log.error(
        "a ticket can't be settled",
        ticket=str(position.ticket_id),
        account=position.user_id,
        error=str(error),
    )
    refusal = Rejected(_("No coupon can be written for this account."), code="failed")
    transactions.run(
        lambda: tickets.record_results(campaign_id, {position.ticket_id: refusal}), transactions.REPEATABLE
    )
    _notify_waiters([position])
