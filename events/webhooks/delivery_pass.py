"""The work of one endpoint: its due deliveries, and the next events of the feed, in order per order; and when
what failed is tried again, or given up.

What was sent is recorded by one transaction with the endpoint's position; a worker that dies in between sends
the same events again, with the same ids. To the data platform an event that was given up holds back the later
ones of its order, until it is sent again.
"""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from uuid import UUID

import orjson
import prometheus_client
from django.conf import settings
from structlog import get_logger
from uuid_utils.compat import uuid7

from events import retries
from events.feed import catalogue, reading
from events.models import WebhookDelivery, WebhookEndpoint
from events.retries import Attempt, Health, Limits
from events.webhooks import data_platform, endpoints, rows, sending
from foundation import clock
from foundation.db import compiled, transactions
from foundation.observability import logs
from foundation.outbound import backoff

log = get_logger(__name__)
PENDING, DELIVERED, FAILED = retries.Status
ATTEMPTS = prometheus_client.Counter(
    "firstcome_webhook_attempts",
    "Requests to webhook endpoints: delivered, failed (tried again), given_up.",
    ["outcome"],
)
EVENTS_SENT = prometheus_client.Counter(
    "firstcome_event_deliveries",
    "Events sent to the data platform: delivered, failed (tried again), refused for good, dead (given up).",
    ["outcome"],
)
for _outcome in ("delivered", "failed", "given_up"):
    # At 0 from the start, so that the first of each is an increase.
    ATTEMPTS.labels(_outcome)
SENDING_AT_ONCE = 4
"""Requests to one endpoint."""
MOST_EVENTS = 100
"""That a pass takes from the feed."""
MOST_DUE = 500
"""Deliveries that a pass reads, and events that it sends to the data platform at once."""
MOST_REFUSED = 100
"""Orders with events that the data platform refused before, whose events a pass sends one by one."""
MOST_PENDING = 10_000
"""Of an endpoint: with so many nothing more is read from the feed, which keeps what comes. Events that the
data platform refuses for good don't count, nor what waits behind them."""
PASS_SECONDS = 15.0
"""How long requests of a pass begin."""
BEHIND_DEAD = timedelta(seconds=backoff.LONGEST_SECONDS)
"""After which it is looked at again whether an event that was given up still holds others back."""
LONGEST_REST_SECONDS = 5.0
"""Of the data platform after a pass without any answer: there is one, and its events are looked for."""
Deliveries = list[WebhookDelivery]
Orders = Sequence[Deliveries]
"""The deliveries of each order, in sequence."""
_terms = attrgetter("lease_token", "url", "events")
_answer = attrgetter("status", "response_status")


@dataclass(slots=True)
class DeliveryBatch:
    """The deliveries that a pass looks at, those of an order in sequence, and what came of each event that it
    sends; the position afterwards, and whether more follows. A new row has no key yet.
    """

    rows: Deliveries
    position: int
    has_more: bool
    attempts: dict[UUID, Attempt] = field(default_factory=dict)


class LeaseLost(Exception):
    """Another worker has the endpoint's lease, it was changed, or is gone: nothing was recorded, and what was
    sent is sent again.
    """


def run(endpoint: WebhookEndpoint, *, pool: Executor, stop: threading.Event | None = None) -> bool:
    """Deliver what is due and the next events, once. Returns whether there is more to do at once.

    An endpoint whose owner lost the right to read events gets none, and is disabled. Once `stop` is set
    nothing more is sent. The caller has the endpoint's lease. Raises `LeaseLost`.
    """
    if why := endpoints.lost_right(endpoint):
        by = WebhookEndpoint.DisabledBy.RIGHTS
        disable = partial(endpoints.disable, endpoint, by=by, error=why, at=clock.now())
        transactions.run(disable, transactions.REPEATABLE)
        return False
    deleted = reading.read_state().swept_position
    if endpoint.position < deleted:
        return _tell_skipped(endpoint, deleted)
    now = clock.now()
    batch = _read(endpoint, now)
    due_at = {row.pk: row.next_attempt_at for row in batch.rows}
    orders = _choose(endpoint, _due_orders(endpoint, batch.rows, now).values())
    if endpoint.is_built_in:
        orders = _send_together(batch, orders)
    _send_each(endpoint, batch, orders, pool=pool, stop=stop or threading.Event())
    now = clock.now()
    tried = [row for row in batch.rows if row.event_id in batch.attempts]
    limits = _limits(endpoint)
    for row in tried:
        _apply(endpoint, limits, row, batch.attempts[row.event_id], now)
    left = [row for row in batch.rows if row.status != DELIVERED]
    has_more = bool(_due_orders(endpoint, left, now)) or batch.has_more
    new = _new_rows(endpoint, batch, now)
    changed = [row for row in batch.rows if row.pk and row.next_attempt_at != due_at[row.pk]]
    transactions.run(partial(_record, endpoint, batch, new, changed, now), transactions.ONCE)
    _count(endpoint, tried)
    # Where nothing was accepted, not at once.
    return has_more and (not tried or any(one.is_delivered for one in batch.attempts.values()))


def _read(endpoint: WebhookEndpoint, now: datetime) -> DeliveryBatch:
    """What is due of the pending deliveries, and the next events, unless too many are pending; with what
    comes before these in their orders.
    """
    due = rows.read_due(endpoint, most=MOST_DUE)
    page = reading.Page([], reading.Cursor(endpoint.position), is_end=True)
    statuses = [PENDING]
    room = MOST_EVENTS
    if endpoint.is_built_in:
        statuses = [*statuses, FAILED]
        room = MOST_DUE - sum(row.refused_at is None for row in due)
    if endpoint.failures:
        first = {_order_key(row): row for row in sorted(due, key=lambda row: row.pk, reverse=True)}
        room = 0 if any(row.attempts == 0 for row in first.values()) else min(room, 1)
    if room and not rows.has_pending(endpoint, MOST_PENDING):
        page = reading.read_page(after=endpoint.position, patterns=endpoint.events, limit=room)
    new = [_new_delivery(endpoint, event, now) for event in page.events]
    # An earlier event of the same order may not be due yet, or was given up. They are read by one statement,
    # for an operator may have what was given up sent again at any time.
    orders = {row.order_id for row in (*due, *new) if row.order_id}
    theirs = WebhookDelivery.objects.filter(endpoint=endpoint, status__in=statuses, order_id__in=orders)
    known = {row.pk: row for row in (*due, *theirs)}
    in_sequence = [*(known[pk] for pk in sorted(known)), *new]
    return DeliveryBatch(in_sequence, page.cursor.position, len(due) == MOST_DUE or not page.is_end)


def _new_rows(endpoint: WebhookEndpoint, batch: DeliveryBatch, now: datetime) -> Deliveries:
    """The rows to insert: a range for the events that were accepted with the same status, if there are
    several, and a row for each of the others.

    Their keys stay unset: if the transaction is repeated, they are new again.
    """
    new = [row for row in batch.rows if row.pk is None]
    answers = Counter(_answer(row) for row in new if row.status == DELIVERED).most_common(1)
    accepted, number = answers[0] if answers else (None, 0)
    others = [row for row in new if _answer(row) != accepted]
    if number > 1:
        together = WebhookDelivery(
            endpoint_id=endpoint.pk,
            first_position=endpoint.position + 1,
            position=batch.position,
            patterns=orjson.dumps(endpoint.events).decode(),
            event_id=uuid7(),
            status=DELIVERED,
            attempts=number,
            response_status=accepted and accepted[1],
            # As its rows, which it must not outlive: it would say that what was given up was delivered.
            created_at=new[0].created_at,
            delivered_at=now,
        )
        new = [together, *others]
    for row in new:
        # As the insert writes it; the feed has what was delivered.
        is_kept = row.status != DELIVERED
        row.payload = orjson.dumps(row.payload, option=orjson.OPT_UTC_Z).decode() if is_kept else None
    return new


def _tell_skipped(endpoint: WebhookEndpoint, deleted: int) -> bool:
    """Tell the endpoint that events up to this position were deleted before it got them, and nothing else
    until the receiver has answered. Returns whether it has. Raises `LeaseLost`.
    """
    position = endpoint.position
    first = position + 1
    queued = WebhookDelivery.objects.filter(endpoint=endpoint, type=catalogue.SKIPPED, status=PENDING)
    row = None
    for one in queued:
        if one.payload and one.payload["data"]["from"] == first:
            row = one
    if row is None:
        row = sending.only_for(endpoint.pk, catalogue.SKIPPED, {"from": first, "to": deleted})
        transactions.run(partial(_queue_skipped, endpoint, row), transactions.ONCE)
    if _is_changed(endpoint):
        raise LeaseLost
    attempt = _send(endpoint, row)
    now = clock.now()
    if attempt.response_status is not None:
        position = (row.payload or {})["data"]["to"]
    _apply(endpoint, _limits(endpoint), row, attempt, now)
    batch = DeliveryBatch([row], position, has_more=True, attempts={row.event_id: attempt})
    transactions.run(partial(_record, endpoint, batch, [], [row], now), transactions.ONCE)
    _count(endpoint, [row])
    return position != endpoint.position


def _queue_skipped(endpoint: WebhookEndpoint, row: WebhookDelivery) -> None:
    _lock(endpoint)
    row.save(force_insert=True)
    endpoints.note_skipped(endpoint, row)


def _new_delivery(endpoint: WebhookEndpoint, event: reading.Event, now: datetime) -> WebhookDelivery:
    columns = {
        "id": None,
        "endpoint_id": endpoint.pk,
        "first_position": None,
        "position": event.position,
        "patterns": None,
        "event_id": event.event_id,
        "order_id": event.order_id,
        "type": event.type,
        "payload": sending.body_of(event),
        "status": PENDING,
        "attempts": 0,
        "next_attempt_at": now,
        "response_status": None,
        "refused_at": None,
        "error": "",
        "created_at": event.at if endpoint.is_built_in else now,
        "delivered_at": None,
    }
    return rows.new_delivery(columns)


def _due_orders(
    endpoint: WebhookEndpoint, rows: Iterable[WebhookDelivery], now: datetime
) -> dict[UUID | str, Deliveries]:
    """The deliveries of the orders whose first pending one is due. Those behind one that is not become due
    when that is; at the data platform those behind one that was given up not before that is sent again.
    """
    is_past = partial(clock.is_past, most_seconds=backoff.LONGEST_SECONDS)
    due: dict[UUID | str, Deliveries] = defaultdict(list)
    waiting: dict[UUID | str, datetime] = {}
    for row in rows:
        key = _order_key(row)
        due_at = row.next_attempt_at or now
        if row.status == FAILED and endpoint.is_built_in:
            waiting[key] = now + BEHIND_DEAD
        elif row.status == PENDING and row.payload is None:
            row.status = FAILED
            row.next_attempt_at = None
            row.error = "the event is missing"
        elif row.status == PENDING and key in waiting:
            row.next_attempt_at = waiting[key]
        elif row.status == PENDING and key not in due and not is_past(due_at, now):
            waiting[key] = due_at
        elif row.status == PENDING:
            due[key].append(row)
    return due


def _choose(endpoint: WebhookEndpoint, due: Iterable[Deliveries]) -> Orders:
    """The orders that a pass tries, first what is due the longest.

    Of those whose last request got no answer one is tried; after a pass without any answer one order, an
    untried one if there is one. So neither a receiver that hangs nor an event that makes it hang holds up
    what it would take.
    """

    def is_hanging(rows: Deliveries) -> bool:
        return rows[0].attempts > 0 and rows[0].response_status is None

    orders = sorted(due, key=lambda rows: rows[0].next_attempt_at or clock.now())
    if endpoint.failures:
        return sorted(orders, key=lambda rows: rows[0].attempts)[:1]
    if endpoint.is_built_in:
        return orders
    hanging = [rows for rows in orders if is_hanging(rows)]
    # First, so that the other threads send the rest while this one waits.
    return [*hanging[:1], *(rows for rows in orders if not is_hanging(rows))]


def _order_key(row: WebhookDelivery) -> UUID | str:
    """Events with the same key are delivered in sequence."""
    return row.order_id or f"no order {row.event_id}"


def _send_together(batch: DeliveryBatch, orders: Orders) -> Orders:
    """Send all to the data platform by one request. Returns the orders whose events are to be sent one after
    the other, to find those that it refuses: all once it has refused them together for good, and else those
    with an event that it refused before.
    """
    refused: list[Deliveries] = []
    others: Deliveries = []
    for deliveries in orders:
        if any(row.refused_at for row in deliveries):
            refused.append(deliveries)
        else:
            others += deliveries
    if together := sorted(others, key=lambda row: row.position or 0)[:MOST_DUE]:
        attempt = data_platform.send([row.payload or {} for row in together])
        if attempt.is_final:
            return orders
        batch.attempts |= {row.event_id: attempt for row in together}
        if not attempt.is_delivered:
            return []
    return refused[:MOST_REFUSED]


def _send_each(
    endpoint: WebhookEndpoint, batch: DeliveryBatch, orders: Orders, *, pool: Executor, stop: threading.Event
) -> None:
    """Send the events of these orders, for `PASS_SECONDS` and the requests under way, unless the endpoint
    changes meanwhile: that is looked at before each request, or those that begin together.

    Of an order the next event is sent once the one before it was accepted. As many requests in a row without
    any answer as run at once end the pass: the rest is left to a later one.
    """
    at_once = 1 if endpoint.is_built_in else SENDING_AT_ONCE
    left = deque(map(deque, orders))
    ends_at = time.monotonic() + PASS_SECONDS
    is_over = False
    sending: dict[Future[Attempt], deque[WebhookDelivery]] = {}
    latest: deque[int | None] = deque(maxlen=at_once)
    while True:
        if left and not is_over:
            is_over = stop.is_set() or time.monotonic() > ends_at or _is_changed(endpoint)
        while left and len(sending) < at_once and not is_over:
            rows = left.popleft()
            sending[pool.submit(_send, endpoint, rows[0])] = rows
        if not sending:
            return
        for future in wait(sending, return_when=FIRST_COMPLETED).done:
            rows = sending.pop(future)
            attempt = future.result()
            batch.attempts[rows.popleft().event_id] = attempt
            latest.append(attempt.response_status)
            is_down = endpoint.is_built_in and not (attempt.is_delivered or attempt.is_final)
            is_over = is_over or is_down or latest.count(None) == at_once
            if attempt.is_delivered and rows:
                left.appendleft(rows)


def _send(endpoint: WebhookEndpoint, row: WebhookDelivery) -> Attempt:
    if endpoint.is_built_in:
        return data_platform.send([row.payload or {}])
    return sending.send(endpoint, id=str(row.event_id), payload=row.payload or {})


def _is_changed(endpoint: WebhookEndpoint) -> bool:
    """Whether it was changed, disabled or deleted, or its lease or its owner's right lost, meanwhile."""
    found = compiled.rows(endpoints.find_sendable, at=clock.now())
    terms = {UUID(id): (token, url, orjson.loads(events)) for id, token, url, events in found}
    return terms.get(endpoint.pk) != _terms(endpoint)


def _record(
    endpoint: WebhookEndpoint,
    batch: DeliveryBatch,
    new: Sequence[WebhookDelivery],
    changed: Sequence[WebhookDelivery],
    now: datetime,
) -> None:
    """Write what came of each delivery, and the endpoint's position. Raises `LeaseLost`."""
    row = _lock(endpoint)
    if new:
        rows.insert_deliveries(new)
    WebhookDelivery.objects.bulk_update(
        changed,
        ["status", "attempts", "next_attempt_at", "response_status", "refused_at", "error", "delivered_at"],
    )
    _record_health(row, [*batch.attempts.values()], now)
    row.position = batch.position
    row.save(update_fields=["position", "failing_since", "failures", "next_attempt_at"])


def _lock(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """Its row as it is now, locked. Raises `LeaseLost`."""
    row = rows.lock_endpoint(endpoint.pk)
    if row is None or _terms(row) != _terms(endpoint):
        raise LeaseLost
    return row


def _apply(
    endpoint: WebhookEndpoint, limits: Limits, row: WebhookDelivery, attempt: Attempt, now: datetime
) -> None:
    row.attempts += 1
    row.refused_at = retries.refused_since(
        attempt, last_status=row.response_status, refused_at=row.refused_at, now=now
    )
    row.response_status = attempt.response_status
    row.error = attempt.error[:255]
    row.status = retries.status_after(
        attempt, limits, attempts=row.attempts, refused_at=row.refused_at, created_at=row.created_at, now=now
    )
    row.next_attempt_at = backoff.retry_at(row.attempts, now) if row.status == PENDING else None
    if row.status == DELIVERED:
        row.delivered_at = now
    elif row.status == FAILED and endpoint.is_built_in and not limits.is_refused(row.refused_at, now):
        row.error = f"given up: {row.error}"[:255]


def _limits(endpoint: WebhookEndpoint) -> Limits:
    most = settings.EVENT_GIVE_UP_SECONDS if endpoint.is_built_in else settings.WEBHOOK_GIVE_UP_SECONDS
    return Limits(most, settings.EVENT_REFUSED_SECONDS)


def _record_health(row: WebhookEndpoint, attempts: Sequence[Attempt], now: datetime) -> None:
    """Note since when nothing is delivered, and disable an endpoint of a program after
    `WEBHOOK_GIVE_UP_SECONDS` of that. After a pass without any answer it rests, longer and longer.
    """
    if row.disabled_at is not None or not attempts:
        return
    health = retries.health_after(Health(row.failing_since, row.failures), attempts, now)
    row.failing_since, row.failures = health
    row.next_attempt_at = None
    if row.failures:
        most = LONGEST_REST_SECONDS if row.is_built_in else backoff.LONGEST_SECONDS
        row.next_attempt_at = backoff.retry_at(row.failures, now, most_seconds=most)
    if row.failing_since and not row.is_built_in and _limits(row).is_over(row.failing_since, now):
        error = attempts[-1].error
        endpoints.disable(row, by=WebhookEndpoint.DisabledBy.FAILURES, error=error, at=now)


def _count(endpoint: WebhookEndpoint, tried: Iterable[WebhookDelivery]) -> None:
    """Count the attempts by their outcomes, and log the events that the data platform will not get."""
    outcomes = Counter[str]()
    for row in tried:
        outcome = "refused" if row.refused_at else "failed"
        if row.status == DELIVERED:
            outcome = "delivered"
        elif row.status == FAILED:
            outcome = "dead" if endpoint.is_built_in else "given_up"
        outcomes[outcome] += 1
        if outcome == "dead":
            with logs.bound(event_id=row.event_id, order=row.order_id):
                log.error("event is dead: see replay_events", what=row.type, error=row.error)
    for outcome, number in outcomes.items():
        (EVENTS_SENT if endpoint.is_built_in else ATTEMPTS).labels(outcome).inc(number)
