"""Settling the first of a line: they get what they are owed, in their order, all in one transaction.

Every ticket is settled once, whoever tries and how often: the campaign's row is locked, and a ticket that
waits no more is left as it is. With a partner the slots are taken in this order, and become coupons in the
order in which it confirms them.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.db import DatabaseError, DataError, IntegrityError, connections
from structlog import get_logger

from coupons.allocation import eligibility
from coupons.allocation.eligibility import AllocationResult
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign, QueueTicket
from coupons.partners import confirming
from coupons.partners.contract import NotReached
from coupons.queue import tickets
from coupons.queue.stream import QueuePosition
from shop.db import transactions
from shop.errors import FirstcomeError, PartnerFailed, Rejected, Unavailable
from shop.events import journal
from shop.events.journal import ActorContext
from shop.redis import completion_notifications

log = get_logger(__name__)
PARTNER_THREADS = 16


def settle_tickets(*, campaign_id: int, places: Sequence[QueuePosition]) -> set[UUID]:
    """Settle the tickets of these places in their order, and ask the partner where there is one.

    Durable when it returns, and safe to repeat. Returns the tickets that are to keep their place in line: no
    slot is left for them, but one may come back; or theirs went back, for the partner was not reached. One
    whose partner doesn't answer goes on waiting with its slot. Raises `Unavailable` without the database.
    """
    try:
        taken, early = transactions.run(lambda: _decide(campaign_id, places), transactions.KEYED)
    except (DataError, IntegrityError) as error:
        if len(places) == 1:
            _mark_failed(places[0], error)
            return set()
        staying = [settle_tickets(campaign_id=campaign_id, places=[place]) for place in places]
        return set[UUID]().union(*staying)
    if not taken:
        _notify_waiters(places)
        return early
    outcomes = _ask_partner(taken, by={place.ticket_id: place.by for place in places})
    told = {id: outcome for id, outcome in outcomes.items() if not _is_retryable(outcome)}
    transactions.run(lambda: tickets.record_results(told), transactions.REPEATABLE)
    _notify_waiters(places)
    return early | {id for id, outcome in outcomes.items() if _is_unreached(outcome)}


def _notify_waiters(places: Sequence[QueuePosition]) -> None:
    """Wake the requests that wait for these tickets; each looks what its ticket has become."""
    completion_notifications.notify_completed(*(str(place.ticket_id) for place in places))


def _decide(
    campaign_id: int, places: Sequence[QueuePosition]
) -> tuple[dict[UUID, PendingConfirmation], set[UUID]]:
    """Grant, and write what became of the tickets.

    Returns those whose partner is to be asked, and those for whom it is too early to say that nothing is
    left: the partner has yet to agree to somebody's slot.
    """
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    written = tickets.get_or_create(campaign, places)
    waiting = [
        place
        for place in {one.ticket_id: one for one in places}.values()
        if written[place.ticket_id].status == QueueTicket.Status.WAITING
    ]
    if not waiting:
        return {}, set()
    outcomes = eligibility.allocate(campaign, [IssueRequest(place.user_id, place.by) for place in waiting])
    outcome_of = {place.ticket_id: outcome for place, outcome in zip(waiting, outcomes, strict=True)}
    early = {id for id, outcome in outcome_of.items() if campaign.confirming and _is_sold_out(outcome)}
    tickets.record_results({id: outcome for id, outcome in outcome_of.items() if id not in early})
    return {
        id: outcome for id, outcome in outcome_of.items() if isinstance(outcome, PendingConfirmation)
    }, early


def _ask_partner(
    taken: Mapping[UUID, PendingConfirmation], *, by: Mapping[UUID, ActorContext]
) -> dict[UUID, AllocationResult]:
    """What the partner made of these slots."""
    with ThreadPoolExecutor(PARTNER_THREADS, thread_name_prefix="partner") as threads:
        told = threads.map(_confirm_slot, taken.values(), [by[ticket_id] for ticket_id in taken])
        return dict(zip(taken, told, strict=True))


def _is_retryable(outcome: AllocationResult) -> bool:
    """Whether asking later may end better; a partner that was not reached has not refused."""
    return isinstance(outcome, Unavailable) or _is_unreached(outcome)


def _is_unreached(outcome: AllocationResult) -> bool:
    """Whether the slot went back only because the partner was not reached."""
    return isinstance(outcome, PartnerFailed) and isinstance(outcome.__cause__, NotReached)


def _is_sold_out(outcome: AllocationResult) -> bool:
    return isinstance(outcome, Rejected) and outcome.code == "sold_out"


def _confirm_slot(slot: PendingConfirmation, by: ActorContext) -> Issued | FirstcomeError:
    try:
        with journal.acting(by):
            return confirming.ask_partner(slot)
    except FirstcomeError as error:
        return error
    finally:
        connections.close_all()


def _mark_failed(place: QueuePosition, error: DatabaseError) -> None:
    """A ticket that no coupon can be written for: most likely its account is gone."""
    log.error(
        "a ticket can't be served", ticket=str(place.ticket_id), account=place.user_id, error=str(error)
    )
    refusal = Rejected("No coupon can be written for this account.", code="failed")
    transactions.run(lambda: tickets.record_results({place.ticket_id: refusal}), transactions.REPEATABLE)
    _notify_waiters([place])
