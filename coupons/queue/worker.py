"""Settles the queues of all campaigns with the strategy `queue`: the work of `manage.py run_issuer`.

A few threads settle any number of queues in turn; those with a partner, which are slow, have threads of their
own. Of several issuers one holds a queue's lease. The entries that a killed one had read go to the next; one
that was frozen finds its tickets settled.

The first tickets of a queue are decided in their order, all in one transaction. Every ticket is settled once,
however many issuers try: the campaign's row is locked, and a ticket that no longer waits is left as it is. A
partner's slots are taken in this order, and become coupons as it confirms.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

from django.db import DataError, Error, IntegrityError, close_old_connections, connections
from django.db.models import QuerySet
from structlog import get_logger

from coupons import rows
from coupons.allocation import allocating
from coupons.allocation.allocating import Applicants
from coupons.allocation.outcomes import AllocationResult, Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign, QueueTicket
from coupons.partners import confirmation
from coupons.partners.contract import NotReached
from coupons.queue import stream, tickets
from coupons.queue.stream import QueuePosition
from foundation import clock, journal
from foundation.concurrency import thread_pool
from foundation.db import compiled, transactions
from foundation.errors import FirstcomeError, PartnerFailed, Rejected, Unavailable
from foundation.journal import ActorContext
from foundation.lazy_texts import mark
from foundation.observability import logs, tracing
from foundation.redis import completion_notifications
from foundation.values import Values

log = get_logger(__name__)
BATCH = 256
# A partner confirms so many, several at once, before the next batch is read.
BATCH_WITH_PARTNER = 32
PARTNER_THREADS = 16
# How many queues of each batch size are settled at once, with a thread and a connection each; a queue with a
# partner uses `PARTNER_THREADS` more while it calls the partner.
QUEUES_AT_ONCE = {BATCH: 8, BATCH_WITH_PARTNER: 2}
# How often the list of queues is read, and with it those that were empty or could not be settled; half as
# often while there is none.
REFRESH_SECONDS = 0.5
SPAN_ATTRIBUTES = {
    "messaging.operation.type": "process",
    "messaging.operation.name": "process",
    "messaging.destination.name": "queue tickets",
    "messaging.system": "redis",
}


class NoTicketSettled(Exception):
    """None of the first tickets can be settled before their partner answers; they keep their positions."""


class _Issuer:
    """Settles queues in turn, each by one thread at a time, with a few threads for each batch size."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._id = uuid4().hex
        self._threads = {
            most: ThreadPoolExecutor(at_once, thread_name_prefix=f"queues {most}")
            for most, at_once in QUEUES_AT_ONCE.items()
        }
        # The batch sizes of the queues, and the queues that wait for their turn or are being settled.
        self._wanted: dict[int, int] = {}
        self._busy: set[int] = set()

    def refresh(self) -> int:
        """Read which queues there are, and have them settled. Returns how many; leases of others expire."""
        self._wanted = _batch_sizes()
        for campaign_id, most in self._wanted.items():
            if campaign_id not in self._busy:
                self._busy.add(campaign_id)
                self._threads[most].submit(self._serve, campaign_id, most)
        return len(self._wanted)

    def join(self) -> None:
        """Return once all threads have ended, after `stop` was set, and release all queues."""
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)
        for campaign_id in {*self._wanted, *self._busy}:
            stream.release(campaign_id, issuer=self._id)

    def _serve(self, campaign_id: int, most: int) -> None:
        """Settle the first tickets of the queue, and put the queue back, unless it is empty or fails."""
        try:
            with logs.bound(campaign=campaign_id):
                served = _run_or_none(partial(_settle_batch, campaign_id, issuer=self._id, most=most))
        except Exception:
            log.exception("a queue can't be settled", campaign=campaign_id)
            served = None
        sizes = list(self._wanted.values())
        is_idle = served == 0 and sizes.count(most) <= QUEUES_AT_ONCE[most]
        if is_idle:
            stream.wait_for_entry(campaign_id)
        if (served or is_idle) and self._wanted.get(campaign_id) == most and not self._stop.is_set():
            self._threads[most].submit(self._serve, campaign_id, most)
        else:
            self._busy.discard(campaign_id)


def serve(stop: threading.Event, *, on_refresh: Callable[[], None] = lambda: None) -> None:
    """Settle every queue until `stop` is set; `on_refresh` is called after each refresh of their list."""
    issuer = _Issuer(stop)
    try:
        while not stop.is_set():
            queues = _run_or_none(issuer.refresh)
            if queues is not None:
                on_refresh()
            stop.wait(2 * REFRESH_SECONDS if queues == 0 else REFRESH_SECONDS)
    finally:
        # Also after an error: threads that went on would keep a process alive that finds no new queue.
        stop.set()
        issuer.join()


def serve_once() -> int:
    """Settle the tickets that are queued now, but for queues of other issuers. Returns how many."""
    issuer = uuid4().hex
    count = 0
    for campaign_id, most in _batch_sizes().items():
        with suppress(stream.LeaseTaken, stream.StreamLost, NoTicketSettled):
            while served := _settle_batch(campaign_id, issuer=issuer, most=most):
                count += served
        stream.release(campaign_id, issuer=issuer)
    return count


def _batch_sizes() -> dict[int, int]:
    """The batch size of each queue that is neither paused nor without its partner: open, or with tickets."""
    rows = compiled.rows(_queues, at=clock.now())
    return {
        pk: BATCH_WITH_PARTNER if partner else BATCH
        for pk, partner in rows
        if not (partner and confirmation.is_unavailable(partner))
    }


def _queues(now: datetime) -> "QuerySet[Campaign, tuple[int, str]]":
    issuable = Campaign.objects.filter(rows.issues_at(now), strategy="queue")
    waiting = tickets.campaigns_with_waiting().exclude(rows.is_paused(now))
    return issuable.values_list("pk", "partner").union(waiting.values_list("pk", "partner"))


def _settle_batch(campaign_id: int, *, issuer: str, most: int) -> int:
    """Settle the queue's first tickets; returns how many. Raises `NoTicketSettled` when all must wait."""
    try:
        positions = stream.read(campaign_id, issuer=issuer, most=most)
    except stream.StreamLost:
        tickets.restore_queue(Campaign.objects.get(pk=campaign_id))
        positions = stream.read(campaign_id, issuer=issuer, most=most)
    if not positions:
        return 0
    with _observed(campaign_id, positions):
        staying = settle_tickets(campaign_id=campaign_id, positions=positions)
    leaving = [position for position in positions if position.ticket_id not in staying]
    if not leaving:
        raise NoTicketSettled
    stream.remove(campaign_id, leaving)
    return len(leaving)


def settle_tickets(*, campaign_id: int, positions: Sequence[QueuePosition]) -> set[UUID]:
    """Settle the tickets at these positions in their order, and call the partner if there is one.

    Durable on return, and safe to repeat. Returns the tickets that keep their position: of a paused campaign,
    with no slot left while one may be released, or whose partner was not reached. One whose partner doesn't
    answer goes on waiting with its slot. Raises `Unavailable` without the database.
    """
    outcomes: dict[UUID, AllocationResult] = {}
    try:
        pending, staying = transactions.run(lambda: _decide(campaign_id, positions), transactions.KEYED)
    except (DataError, IntegrityError) as error:
        if len(positions) > 1:
            each = [settle_tickets(campaign_id=campaign_id, positions=[position]) for position in positions]
            return set[UUID]().union(*each)
        # Most likely its account was deleted.
        [failed] = positions
        log.error("a ticket can't be settled", ticket=failed.ticket_id, account=failed.user_id, error=error)
        pending = {}
        staying = set[UUID]()
        outcomes[failed.ticket_id] = Rejected(
            mark("No coupon can be written for this account."), code="failed"
        )
    if pending:
        by = {position.ticket_id: position.by for position in positions}
        confirm = partial(_confirm_slot, tracing.traceparent())
        asked = thread_pool.call_at_once(
            confirm, pending.values(), [by[id] for id in pending], threads=PARTNER_THREADS
        )
        for id, outcome in zip(pending, asked, strict=True):
            # A partner that was not reached has not refused, although the slot is released.
            if isinstance(outcome, PartnerFailed) and isinstance(outcome.__cause__, NotReached):
                staying.add(id)
            else:
                outcomes[id] = outcome
    if outcomes:
        transactions.run(lambda: tickets.record_results(campaign_id, outcomes), transactions.REPEATABLE)
    # The requests that wait for these tickets read them again.
    completion_notifications.notify_completed(*(str(position.ticket_id) for position in positions))
    return staying


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
    outcomes = allocating.allocate(applicants, requests)
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


@contextmanager
def _observed(campaign_id: int, positions: Sequence[QueuePosition]) -> Iterator[None]:
    """Log lines with the tickets' ids, and a span that is linked to the traces of their requests."""
    each = [
        {"ticket": str(one.ticket_id), "account": one.user_id}
        | ({"request_id": one.by.request_id} if one.by.request_id else {})
        for one in positions
    ]
    ids: Values = {"campaign": campaign_id} | logs.merge_ids(each)
    links: list[str] = []
    if tracing.is_on:
        with suppress(Error):
            read = QueueTicket.objects.filter(id__in=[position.ticket_id for position in positions])
            links += read.exclude(traceparent="").values_list("traceparent", flat=True)
    attributes = SPAN_ATTRIBUTES | tracing.attributes(ids)
    span = tracing.continued("process queue tickets", "", attributes, kind="consumer", links=links)
    with logs.bound_to(lambda: ids), span:
        yield


def _run_or_none(work: Callable[[], int]) -> int | None:
    """The result of the work; None when it can't be done for now and has to be retried."""
    close_old_connections()
    try:
        return work()
    except (stream.LeaseTaken, stream.StreamLost, NoTicketSettled):
        return None
    except (Unavailable, Error) as error:
        log.warning("queues can't be settled for now", error=error)
        return None
