"""Reads, locks and writes the rows of sagas: their start and end, final results of steps, and attempts.

A line of the log is written in the transaction that it reports, together with a line of the journal. (The
barrier is dtm's: dtm-labs/client, `dtmcli/barrier.go`.)
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from orders.models import Saga, SagaLog
from orders.saga import observation
from orders.saga.definitions import (
    DO,
    LEASE_SECONDS,
    SAGA_COLUMNS,
    SAGA_TYPES,
    UNDO,
    WITHOUT_PARENT,
    Event,
    FinalResults,
    SagaRow,
    SagaRun,
    StepResult,
)
from shop import clock
from shop.db import bulk_sql, open_transaction
from shop.events import journal
from shop.events.journal import ActorContext
from shop.models import JournalLine
from shop.observability import tracing


class SagaLogLine(NamedTuple):
    """A line to write: final with attempt 0, else the report of an attempt that was not final."""

    saga: SagaRow | Saga
    step: str
    direction: str
    result: StepResult
    attempt: int = 0


RETRIED = "saga.retried"
"""The journal's name of an operator's retry."""
UNLEASED: dict[str, Any] = {"leased_until": None, "lease_token": ""}
LINES = bulk_sql.Table(
    SagaLog, ("saga_id", "step", "direction", "attempt", "event", "detail", "reference", "at")
)


def new_saga(
    *,
    type_name: str,
    subject_id: UUID,
    give_up_seconds: float,
    about_id: UUID | None = None,
    by: ActorContext | None = None,
    done: Collection[str] = (),
    skipped: Collection[str] = (),
) -> tuple[Saga, list[SagaLogLine]]:
    """An unsaved saga about an order, with its first lines, for the transaction that calls `insert_sagas`."""
    now, by = clock.now(), by or journal.current_actor()
    saga = Saga(
        kind=type_name,
        subject_id=subject_id,
        about_id=about_id,
        request_id=by.request_id,
        traceparent=by.traceparent if tracing.is_recorded(by.traceparent) else "",
        created_at=now,
        deadline_at=now + timedelta(seconds=give_up_seconds),
        # The view enqueues it at once; recovery finds it if that is lost.
        queued_at=now,
        next_attempt_at=now + timedelta(seconds=LEASE_SECONDS),
    )
    events = dict.fromkeys(done, Event.DONE) | dict.fromkeys(skipped, Event.SKIPPED)
    return saga, [
        SagaLogLine(saga, step.name, DO, StepResult(events[step.name]))
        for step in SAGA_TYPES[type_name].steps
        if step.name in events
    ]


def insert_sagas(started: Sequence[tuple[Saga, Sequence[SagaLogLine]]]) -> None:
    bulk_sql.insert_objects([saga for saga, _ in started])
    write_lines([line for _, lines in started for line in lines], at=clock.now())


def write_lines(lines: Sequence[SagaLogLine], *, at: datetime) -> None:
    if not lines:
        return
    rows = [
        (saga.id, step, direction, attempt, result.event.value, result.detail[:255], result.reference, at)
        for saga, step, direction, result, attempt in lines
    ]
    bulk_sql.insert(LINES, rows)
    journal.note_all([_journal_line(line, at) for line in lines])
    open_transaction.count_after_commit(
        observation.count_steps,
        [(line.saga.kind, line.step, line.direction, line.result.event.value) for line in lines],
    )


def read_sagas(saga_ids: Collection[UUID], *, is_locked: bool = False) -> dict[UUID, SagaRow]:
    """These sagas by id, without their final results; with `is_locked` their rows are locked."""
    read = bulk_sql.reader(Saga, SAGA_COLUMNS).rows_of(
        saga_ids, lock=bulk_sql.for_update() if is_locked else ""
    )
    return {row[0]: SagaRow(*row) for row in read}


def final_results(saga_ids: Collection[UUID]) -> dict[UUID, FinalResults]:
    found: dict[UUID, FinalResults] = defaultdict(dict)
    if not saga_ids:
        return found
    cells = bulk_sql.SqlLiterals()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT saga_id, step, direction, event, detail, reference FROM orders_sagalog"  # noqa: S608 - ids
            f" WHERE attempt = 0 AND saga_id IN ({cells.listed(saga_ids)})",
            cells.parameters or None,
        )
        for saga_id, step, direction, event, detail, reference in cursor.fetchall():
            result = StepResult(Event(event), detail, reference=reference)
            found[saga_id if isinstance(saga_id, UUID) else UUID(saga_id)][step, direction] = result
    return found


def unused_key(saga: SagaRow | Saga, step: str, key: str) -> str:
    """The key for the next call of the step: another one for each call, of those that have an id at the other
    system, that had failed for good before an operator last retried the saga. Their keys bring it back.
    """
    if not saga.attempts:
        return key
    failed = f"{step}.undo.failed" if saga.direction == UNDO else f"{step}.failed"
    lines = JournalLine.objects.filter(
        subject=f"{saga.kind} {saga.subject_id}", what__in=(RETRIED, failed)
    ).order_by("id")
    references: set[str] = set()
    used = 0
    for what, reference in lines.values_list("what", "reference"):
        if what == RETRIED:
            used = len(references)
        elif reference:
            references.add(reference)
    return f"{key}:{used}" if used else key


def acting_for(saga: SagaRow | Saga) -> ActorContext:
    """The journal's actor: the operator who acts on it, else the system with the saga's request id."""
    actor = journal.current_actor()
    return actor if actor.actor == journal.Actor.STAFF else ActorContext(request_id=saga.request_id)


def start_compensation(saga: SagaRow, code: str, detail: str) -> None:
    """Turn the locked saga to compensation, because of `code`; changes the row and `saga`."""
    saga.direction, saga.failure_code, saga.failure_detail = UNDO, code[:64] or "refused", detail[:255]
    Saga.objects.filter(id=saga.id).update(
        direction=UNDO, failure_code=saga.failure_code, failure_detail=saga.failure_detail
    )


def end(sagas: Sequence[SagaRow], state: str, *, at: datetime) -> None:
    update(sagas, state=state, ended_at=at, next_attempt_at=None, **UNLEASED, open_call="")


def wait_for_action(saga: SagaRow, step: str, result: StepResult, *, at: datetime) -> None:
    """Let the locked saga rest until its action ends, without a lease; its open call stays.

    The journal has one line of a new action, which moves the deadline, also if this is repeated.
    """
    action = result.action
    assert action
    # Never overdue while it rests: there is time for the look-up that ends it.
    least = action.expires_at + timedelta(seconds=LEASE_SECONDS)
    deadline_at = max(action.deadline_at or saga.deadline_at, least)
    is_noted = not saga.lease_token and saga.deadline_at == deadline_at
    saga.deadline_at = deadline_at
    update([saga], next_attempt_at=action.expires_at, **UNLEASED, deadline_at=deadline_at)
    if action.deadline_at and not is_noted:
        journal.note_all([_journal_line(SagaLogLine(saga, step, DO, result), at)])


def update(sagas: Sequence[SagaRow], **values: str | datetime | bool | None) -> None:
    """Update columns of locked rows, which a worker has taken; the statement is sent together with the next
    one or with COMMIT.
    """
    if not sagas:
        return
    cells = bulk_sql.SqlLiterals()
    values["queued_at"] = None
    columns = ", ".join([f"{name} = {cells[value]}" for name, value in values.items()])
    ids = cells.listed([saga.id for saga in sagas])
    statement = f"UPDATE orders_saga SET {columns} WHERE id IN ({ids})"  # noqa: S608
    bulk_sql.execute_deferred(statement, cells.parameters or None)


def _journal_line(line: SagaLogLine, at: datetime) -> journal.NewJournalLine:
    """The journal's line for it, such as `charge_card.done` or, for an undo, `charge_card.undo.done`."""
    saga, undo = line.saga, ".undo" if line.direction == UNDO else ""
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


def lock_sagas(
    runs: Collection[SagaRun], *, token: str, is_single: bool
) -> tuple[list[SagaRow], list[SagaRun], list[SagaRun]]:
    """The sagas of these runs, locked, and the runs of those that are locked elsewhere, and that are missing.

    A single batch (`is_single`) waits for rows that are locked, and reads everything again; any other leaves
    out the sagas whose rows are locked, and trusts the copies of those whose lease it holds by this token.
    """
    copies = {run.saga_id: run.saga for run in runs if run.saga and not is_single}
    sagas = copies | read_sagas([run.saga_id for run in runs if run.saga_id not in copies])
    by_type: dict[str, list[SagaRow]] = defaultdict(list)
    for saga in sagas.values():
        by_type[saga.kind].append(saga)
    parents: dict[UUID, Any] = {}
    for kind in sorted(by_type):
        parents |= SAGA_TYPES[kind].lock(by_type[kind], not is_single)
    # A single batch waits for locked rows: a row that it has not locked doesn't exist.
    rows = read_sagas(sagas if is_single else parents, is_locked=True)
    known = {
        id: copy.final
        for id, copy in copies.items()
        if id in rows and copy.lease_token == rows[id].lease_token == token
    }
    final = final_results([id for id in rows if id not in known]) | known
    locked, locked_elsewhere, missing = [], [], []
    for run in runs:
        id = run.saga_id
        if row := rows.get(id):
            row.final, row.parent = dict(final.get(id, {})), parents.get(id)
            row.result = run.result_for(row) if id in parents else WITHOUT_PARENT
            locked.append(row)
        elif id in sagas and id not in parents:
            locked_elsewhere.append(run)
        else:
            missing.append(run)
    return locked, locked_elsewhere, missing
