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

from coupons import confirming, granting, tickets
from coupons.granting import Outcome
from coupons.in_redis.line import Place
from coupons.models import Campaign, QueueTicket
from coupons.partners.contract import NotReached
from coupons.slots import Asker, Confirming, Issued
from shop import journal, transactions
from shop.errors import FirstcomeError, Rejected, Unavailable
from shop.journal import Who

log = get_logger(__name__)
PARTNER_THREADS = 16


def settle(*, campaign_id: int, places: Sequence[Place]) -> None:
    """Settle the tickets of these places in their order, and ask the partner where there is one.

    Durable when it returns, and safe to repeat. A ticket whose partner doesn't answer, or is away, goes on
    waiting. Raises `Unavailable` without the database.
    """
    try:
        taken = transactions.run(lambda: _decide(campaign_id, places))
    except (DataError, IntegrityError) as error:
        if len(places) == 1:
            _give_up(places[0], error)
            return
        for place in places:
            settle(campaign_id=campaign_id, places=[place])
        return
    if taken:
        told = _partner_told(taken, by={place.ticket_id: place.by for place in places})
        transactions.run(lambda: tickets.settle(told))


def _decide(campaign_id: int, places: Sequence[Place]) -> dict[UUID, Confirming]:
    """Grant, and write what became of the tickets. Returns those whose partner is to be asked."""
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    written = tickets.written_ones(campaign, places)
    waiting = [
        place
        for place in {one.ticket_id: one for one in places}.values()
        if written[place.ticket_id].status == QueueTicket.Status.WAITING
    ]
    if not waiting:
        return {}
    outcomes = granting.decide(campaign, [Asker(place.user_id, place.by) for place in waiting])
    outcome_of = {place.ticket_id: outcome for place, outcome in zip(waiting, outcomes, strict=True)}
    tickets.settle(outcome_of)
    return {id: outcome for id, outcome in outcome_of.items() if isinstance(outcome, Confirming)}


def _partner_told(taken: Mapping[UUID, Confirming], *, by: Mapping[UUID, Who]) -> dict[UUID, Outcome]:
    """What the partner made of these slots; those that are in doubt are left out."""
    with ThreadPoolExecutor(PARTNER_THREADS, thread_name_prefix="partner") as threads:
        told = threads.map(_asked, taken.values(), [by[ticket_id] for ticket_id in taken])
        outcomes = dict(zip(taken, told, strict=True))
    return {id: outcome for id, outcome in outcomes.items() if not _may_wait(outcome)}


def _may_wait(outcome: Outcome) -> bool:
    """Whether asking later may end better; a partner that was not reached has not refused."""
    return isinstance(outcome, Unavailable) or isinstance(getattr(outcome, "__cause__", None), NotReached)


def _asked(slot: Confirming, by: Who) -> Issued | FirstcomeError:
    try:
        with journal.acting(by):
            return confirming.ask(slot)
    except FirstcomeError as error:
        return error
    finally:
        connections.close_all()


def _give_up(place: Place, error: DatabaseError) -> None:
    """A ticket that no coupon can be written for: most likely its account is gone."""
    log.error(
        "a ticket can't be served", ticket=str(place.ticket_id), account=place.user_id, error=str(error)
    )
    refusal = Rejected("No coupon can be written for this account.", code="failed")
    transactions.run(lambda: tickets.settle({place.ticket_id: refusal}))
