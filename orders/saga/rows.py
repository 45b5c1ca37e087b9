"""The rows of sagas in the database: finds the due ones, locks and saves them, and writes their log.

A batch locks the rows that its sagas are about, orders or the payments of top-ups, and then the sagas, each
in the order of their ids; before COMMIT it writes the sagas and then the log. A line of that is written in
the transaction that it reports, together with a line of the journal. Final lines are unique per saga, step
and direction, so each effect happens once (dtm's barrier: dtm-labs/client, `dtmcli/barrier.go`).
"""

from collections import Counter as Tally, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL
from prometheus_client import Counter

from foundation import clock, journal
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.journal import ActorContext
from foundation.observability import tracing
from foundation.values import Values
from orders import rows as order_rows
from orders.models import Order, Saga, SagaLog
from orders.order_states import OrderRow
from orders.saga.definitions import (
    AT_ONCE,
    DO,
    LEASE_SECONDS,
    LONGEST_REST_SECONDS,
    SAGA_COLUMNS,
    SAGA_TYPES,
    UNDO,
    UNFINISHED,
    WITHOUT_PARENT,
    Event,
    FinalResults,
    SagaRow,
    Sagas,
    StepResult,
    WorkClass,
)


class SagaLogLine(NamedTuple):
    """A line to write: final with attempt 0, else the report of an attempt that was not final."""

    saga: SagaRow | Saga
    step: str
    direction: str
    result: StepResult
    attempt: int = 0


STEPS = Counter(
    "firstcome_saga_steps",
    "Lines of sagas' logs: done, skipped, refused, void, forced are final, failed and pending are attempts.",
    ["saga", "step", "direction", "outcome"],
)
RETRIED = "saga.retried"
"""The journal's name of an operator's retry."""
UNLEASED: Values = {"leased_until": None, "lease_token": ""}
LINES = bulk_sql.Table(
    SagaLog, ("saga_id", "step", "direction", "attempt", "event", "detail", "reference", "amount", "at")
)
_insert_lines = partial(bulk_sql.insert, LINES)


# Start


def new_saga(
    *,
    kind: str,
    subject_id: UUID,
    about_id: UUID | None = None,
    by: ActorContext | None = None,
    final: Mapping[str, Event] = {},
) -> tuple[Saga, list[SagaLogLine]]:
    """An unsaved saga, with its first lines, of steps that are `final` already, for the transaction that
    calls `insert_sagas`.
    """
    now = clock.now()
    by = by or journal.current_actor()
    saga = Saga(
        kind=kind,
        subject_id=subject_id,
        about_id=about_id,
        request_id=by.request_id,
        traceparent=by.traceparent if tracing.is_recorded(by.traceparent) else "",
        created_at=now,
        deadline_at=now + timedelta(seconds=settings.PAYMENT_GIVE_UP_SECONDS),
        next_attempt_at=AT_ONCE,
        work_class=SAGA_TYPES[kind].class_of(WorkClass.NEW),
    )
    steps = [step.name for step in SAGA_TYPES[kind].steps if step.name in final]
    return saga, [SagaLogLine(saga, step, DO, StepResult(final[step])) for step in steps]


def new_row(saga: Saga, lines: Sequence[SagaLogLine], *, begun: Any) -> SagaRow:
    """The row of a saga that is to be inserted."""
    row = SagaRow(*[getattr(saga, name) for name in SAGA_COLUMNS])
    row.final = {(line.step, line.direction): line.result for line in lines}
    row.begun = begun
    return row


def insert_sagas(started: Sequence[tuple[Saga, Sequence[SagaLogLine]]]) -> None:
    """Insert new sagas with their first lines."""
    bulk_sql.insert_objects([saga for saga, _ in started])
    write_lines([line for _, lines in started for line in lines], at=clock.now())


# What is due


def due() -> "QuerySet[Saga]":
    """The sagas to advance now, of this release's types: new, or their pause is over, or their worker's lease
    has lapsed.
    """
    condition = RawSQL(due_condition(bulk_sql.SqlLiterals()), (), output_field=BooleanField())  # noqa: S611
    return Saga.objects.filter(condition)


def due_condition(cells: bulk_sql.SqlLiterals) -> str:
    """The same in SQL, which the ORM would compile for longer than a batch of few sagas takes."""
    lapsed = clock.has_come_sql("leased_until", cells, most_seconds=LEASE_SECONDS)
    due = clock.has_come_sql("next_attempt_at", cells, most_seconds=LONGEST_REST_SECONDS)
    return f"(leased_until IS NULL OR {lapsed}) AND {due} AND kind IN ({cells.listed(SAGA_TYPES)})"


def is_any_due() -> bool:
    cells = bulk_sql.SqlLiterals()
    return bool(bulk_sql.reader(Saga, ("id",)).rows(f"{due_condition(cells)} LIMIT 1", cells))


def find_due(limits: Mapping[str, int]) -> list[SagaRow]:
    """At most so many sagas of each class that are due, each class's first first and the classes in turn,
    without the tokens of lapsed leases.
    """
    cells = bulk_sql.SqlLiterals()
    condition = due_condition(cells)
    first = list[str]()
    for name, limit in limits.items():
        of_class = f"work_class = {cells[str(name)]} AND {condition}"
        first.append(f"{of_class} ORDER BY next_attempt_at, id LIMIT {limit:d}")
    reader = bulk_sql.reader(Saga, SAGA_COLUMNS)
    found: dict[str, list[SagaRow]] = defaultdict(list)
    for row in reader.rows_of_each(first, cells):
        saga = SagaRow(*row)
        saga.lease_token = ""
        saga.found_as = saga.work_class
        found[saga.work_class].append(saga)
    return [saga for turn in zip_longest(*found.values()) for saga in turn if saga]


def next_attempt_at() -> datetime | None:
    """When the next saga is due of those that aren't yet; None without one."""
    later = Saga.objects.filter(next_attempt_at__gt=clock.now())
    return later.order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()


def find_late(classes: Collection[str], *, since: datetime, limit: int) -> list[SagaRow]:
    """At most so many sagas of these classes past their deadline, due since then, that no operator sees as
    stuck; without the tokens of lapsed leases.
    """
    cells = bulk_sql.SqlLiterals()
    at = cells[since]
    is_late = f"{due_condition(cells)} AND next_attempt_at <= {at} AND deadline_at <= {at}"
    is_running = f"state = {cells[str(Saga.State.RUNNING)]}"
    of_classes = f"work_class IN ({cells.listed(map(str, classes))})"
    condition = f"{is_late} AND {is_running} AND {of_classes} ORDER BY next_attempt_at LIMIT {limit:d}"
    reader = bulk_sql.reader(Saga, SAGA_COLUMNS)
    return [replace(SagaRow(*row), lease_token="") for row in reader.rows(condition, cells)]


def advance_now(subject_ids: Collection[UUID]) -> None:
    """Have the unfinished sagas of these payments, top-ups or refunds be due now instead of after a pause."""
    sagas = Saga.objects.filter(kind__in=SAGA_TYPES, subject_id__in=subject_ids)
    unfinished = Saga.objects.filter(id__in=list(sagas.values_list("id", flat=True)), state__in=UNFINISHED)
    # Executors lock these rows and the index in another order: the update is retried on deadlock.
    transactions.run(lambda: unfinished.update(next_attempt_at=clock.now()), transactions.REPEATABLE)


# Rows and leases


def read_sagas(saga_ids: Collection[UUID], *, skip_locked: bool | None = None) -> dict[UUID, SagaRow]:
    """These sagas by id, without their final results, and without a lock unless locked rows are said to be
    skipped or not.
    """
    lock = "" if skip_locked is None else bulk_sql.for_update(skip_locked=skip_locked)
    read = bulk_sql.reader(Saga, SAGA_COLUMNS).rows_of(saga_ids, lock=lock)
    return {row[0]: SagaRow(*row) for row in read}


def final_results(saga_ids: Collection[UUID]) -> dict[UUID, FinalResults]:
    found: dict[UUID, FinalResults] = defaultdict(dict)
    if not saga_ids:
        return found
    cells = bulk_sql.SqlLiterals()
    columns = ("saga_id", "step", "direction", "event", "detail", "reference", "amount")
    lines = bulk_sql.reader(SagaLog, columns).rows(
        f"attempt = 0 AND saga_id IN ({cells.listed(saga_ids)})", cells
    )
    for saga_id, step, direction, event, detail, reference, amount in lines:
        found[saga_id][step, direction] = StepResult(Event(event), detail, reference=reference, amount=amount)
    return found


def lock_sagas(copies: Mapping[UUID, SagaRow], *, token: str | None = None) -> dict[UUID, SagaRow]:
    """These sagas of one type with their results and parents, locked, by id.

    It waits for locked rows. With a `token` it leaves out those whose parents are locked or missing, and
    trusts the results of a copy whose lease the token still holds.
    """
    sagas = [*copies.values()]
    lock = sagas[0].type.lock
    is_shared = token is not None
    parents: dict[UUID, Any] = {}
    if lock is None and is_shared:
        rows, parents = _lock_with_orders(sagas)
    else:
        ids = [saga.about_id or saga.subject_id for saga in sagas]
        locked = lock(ids, is_shared) if lock else order_rows.lock_orders(ids)
        for saga, id in zip(sagas, ids, strict=True):
            if id in locked:
                parents[saga.id] = locked[id]
        rows = read_sagas(parents if is_shared else copies, skip_locked=False)
    unread = list[UUID]()
    for id, row in rows.items():
        row.parent = parents.get(id)
        row.result = None if id in parents else WITHOUT_PARENT
        if copies[id].lease_token == row.lease_token == token:
            row.final = dict(copies[id].final)
        else:
            unread.append(id)
    for id, final in final_results(unread).items():
        rows[id].final = final
    return {id: rows[id] for id in copies if id in rows}


def _lock_with_orders(sagas: Sagas) -> tuple[dict[UUID, SagaRow], dict[UUID, OrderRow]]:
    """Lock the orders that no other transaction holds, and then these sagas about them, by one statement."""
    orders = bulk_sql.reader(Order, OrderRow._fields, alias="parent")
    reader = bulk_sql.reader(Saga, SAGA_COLUMNS, alias="saga")
    cells = bulk_sql.SqlLiterals()
    ids = cells.listed([saga.id for saga in sagas])
    order_ids = cells.listed([saga.about_id for saga in sagas if saga.about_id])
    lock = bulk_sql.for_update(skip_locked=True)
    # LEFT JOIN forces the order of the locks. A scan, cheapest for a small table, would lock all its rows.
    index = " FORCE INDEX (PRIMARY)" if lock else ""
    statement = (
        f"SELECT {orders.selected}, {reader.selected} FROM orders_order parent"  # noqa: S608 - names of ours
        f" LEFT JOIN orders_saga saga{index} ON saga.about_id = parent.id AND saga.id IN ({ids})"
        f" WHERE parent.id IN ({order_ids or 'NULL'}) ORDER BY parent.id{lock}"
    )
    rows = dict[UUID, SagaRow]()
    parents = dict[UUID, OrderRow]()
    width = len(orders.names)
    for found in bulk_sql.fetch(statement, cells.parameters):
        # Of a saga that is locked elsewhere there is only the order.
        if found[width] is not None:
            saga = SagaRow(*reader.values(found[width:]))
            rows[saga.id] = saga
            parents[saga.id] = OrderRow(*orders.values(found[:width]))
    return rows, parents


def renew_leases(saga_ids: Collection[UUID], *, token: str, until: datetime) -> None:
    """Renew the leases that the token holds. A locked row is in a batch, which renews its lease."""
    held = Saga.objects.filter(id__in=saga_ids, lease_token=token, state__in=UNFINISHED)
    free = set(held.select_for_update(skip_locked=True).order_by("id").values_list("id", flat=True))
    Saga.objects.filter(id__in=free).update(leased_until=until, next_attempt_at=until)


def save(sagas: Collection[SagaRow]) -> None:
    """Write what has changed of these locked rows: one statement for all that change alike, sent together
    with the next one or with COMMIT.
    """
    alike: dict[tuple[tuple[str, Any], ...], list[UUID]] = defaultdict(list)
    for saga in sagas:
        if saga.changes:
            alike[tuple(sorted(saga.changes.items()))].append(saga.id)
            saga.changes = {}
    for values, ids in alike.items():
        cells = bulk_sql.SqlLiterals()
        columns = ", ".join([f"{name} = {cells[value]}" for name, value in values])
        statement = f"UPDATE orders_saga SET {columns} WHERE id IN ({cells.listed(ids)})"  # noqa: S608
        bulk_sql.execute_deferred(statement, cells.parameters or None)


# The log


def write_lines(lines: Sequence[SagaLogLine], *, at: datetime) -> None:
    """Write these lines as the journal's are written: all of a transaction by one statement."""
    rows = []
    for saga, step, direction, said, attempt in lines:
        event = said.event.value
        detail = said.detail[:255]
        rows.append((saga.id, step, direction, attempt, event, detail, said.reference, said.amount, at))
    open_transaction.write_before_commit(_insert_lines, rows)
    journal.note_all([journal_line(line, at) for line in lines])
    open_transaction.count_after_commit(_count_steps, lines)


def _count_steps(lines: Sequence[SagaLogLine]) -> None:
    counted = Tally((line.saga.kind, line.step, line.direction, line.result.event.value) for line in lines)
    for labels, number in counted.items():
        STEPS.labels(*labels).inc(number)


def journal_line(line: SagaLogLine, at: datetime) -> journal.NewJournalLine:
    """The journal's line for it, such as `charge_card.done` or, for an undo, `charge_card.undo.done`."""
    saga = line.saga
    undo = ".undo" if line.direction == UNDO else ""
    return journal.build_line(
        what=f"{line.step}{undo}.{line.result.event.value}",
        subject=f"{saga.kind} {saga.subject_id}",
        order_id=saga.about_id,
        detail=line.result.detail,
        reference=line.result.reference,
        is_internal=line.attempt > 0,
        at=at,
        by=acting_for(saga),
    )


def acting_for(saga: SagaRow | Saga) -> ActorContext:
    """The journal's actor: the operator who acts on it, else the system with the saga's request id."""
    actor = journal.current_actor()
    return actor if actor.actor == journal.Actor.STAFF else ActorContext(request_id=saga.request_id)


def unused_key(saga: SagaRow | Saga, key: str) -> str:
    """The key for the saga's next call: another one for each call that had failed for good before an operator
    last retried it. The keys of those would bring their failures back.
    """
    return f"{key}:{saga.key_number}" if saga.key_number else key


def count_failed_calls(saga: SagaRow, step: str) -> int:
    """How many calls of the step have failed for good: those with an id at the other system."""
    failed = SagaLog.objects.filter(saga_id=saga.id, step=step, event=Event.FAILED).exclude(reference="")
    return failed.values("reference").distinct().count()
