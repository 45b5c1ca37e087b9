"""Advances many sagas in one transaction: only this module and operators change the state of a saga.

Each effect happens once because the sagas' rows are locked, a final line of the log is unique per saga,
step and direction, and only the holder of the lease acts. A final result is recorded even when the lease
was lost meanwhile: otherwise calls longer than a lease would be repeated without end.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Histogram
from structlog import get_logger

from foundation import clock, journal
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.journal import ActorContext
from foundation.observability import tracing
from foundation.outbound import backoff
from orders.models import Saga
from orders.saga import progress, rows as saga_rows
from orders.saga.definitions import (
    APPLIED,
    DO,
    LEASE_LOST,
    LEASE_SECONDS,
    LONGEST_REST_SECONDS,
    NEVER_RAN,
    NOT_CONFIRMED,
    OUTCOME_UNKNOWN,
    SKIPPED,
    TOO_LATE,
    UNDO,
    UNFINISHED,
    Event,
    LocalStep,
    OutsideStep,
    SagaRow,
    Sagas,
    Step,
    StepResult,
    WorkClass,
    call_name,
    refusal_or_failure,
)
from orders.saga.progress import Action, Claim, Turn
from orders.saga.rows import UNLEASED, SagaLogLine
from payments.gateways.contract import NOT_CALLED

log = get_logger(__name__)
State = Saga.State
STEP_SECONDS = Histogram(
    "firstcome_saga_step_seconds",
    "Executions of a step, in seconds: a call outside, or the statements for all sagas of a batch.",
    ["step"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
SINGLE = "single"


def advance(sagas: Sagas, *, token: str, mode: str = DO, failpoint: Callable[[str], None]) -> "Batch":
    """Advance these sagas by a step, durable when it returns; raises what a step raised, with nothing done.

    `token` identifies the executor as lease holder. A shared batch advances sagas of one direction, its
    `mode`, so that all lock the same rows in one order, and leaves out a saga whose rows another transaction
    has locked. One of a `SINGLE` saga waits for them, and either records a result or does a step: a step that
    raises loses no result, and counts as an attempt.
    """
    batches: list[Batch] = []

    def work() -> Batch:
        batches.append(Batch({saga.id: saga for saga in sagas}, token, mode))
        batches[-1].advance()
        failpoint("batch decided")
        return batches[-1]

    failpoint("batch begins")
    try:
        return transactions.run(work, transactions.KEYED)
    except Exception as error:
        saga = sagas[0]
        has_locked = bool(batches and batches[-1].rows)
        # If recording the failure failed too, recovery takes over and counts the lost lease.
        is_failure_of_step = mode == SINGLE and has_locked and (saga.is_calling or not saga.result)
        if not is_failure_of_step or isinstance(error, transactions.DatabaseUnavailable):
            raise
        log.warning("saga step failed", saga=saga.id, exc_info=error)
        saga.is_calling = False
        saga.result = refusal_or_failure(error)
        return advance(sagas, token=token, mode=mode, failpoint=failpoint)


def open_first_calls(sagas: Sagas, *, token: str) -> None:
    """Lease these sagas, which are not inserted yet and begin with a call, and open those calls."""
    first = Batch({}, token, DO)
    for saga in sagas:
        first._schedule_next(saga)


def put_off(sagas: Sagas, result: StepResult, *, token: str, seconds: float | None = None) -> None:
    """Count an attempt at each of these sagas that didn't come to its step; locks their rows alone. They rest
    for so many seconds, if given. One past its deadline is stuck, though it may still be compensated.
    """

    def work() -> None:
        Batch({saga.id: saga for saga in sagas}, token, SINGLE).put_off(result, seconds)

    transactions.run(work, transactions.KEYED)


@dataclass(slots=True, eq=False)
class Batch:
    """One attempt at the transaction. `copies` are the sagas as they were known before, `rows` those that it
    has locked, `advanced` those of them that it may change, and `committed` names what was written. It leases
    those that continue: by the call of one that `is_calling`, else in another batch.
    """

    copies: dict[UUID, SagaRow]
    token: str
    mode: str
    now: datetime = field(default_factory=clock.now)
    rows: dict[UUID, SagaRow] = field(default_factory=dict)
    advanced: list[SagaRow] = field(default_factory=list)
    committed: list[str] = field(default_factory=list)
    lines: list[SagaLogLine] = field(default_factory=list)
    compensated: list[SagaRow] = field(default_factory=list)

    def advance(self) -> None:
        # A single batch trusts no copy: it may run because the reply to the COMMIT of a shared one was lost.
        self.rows = saga_rows.lock_sagas(self.copies, token=None if self.mode == SINGLE else self.token)
        for id, saga in self.rows.items():
            copy = self.copies[id]
            saga.result = saga.result or copy.result_for(saga)
            saga.found_at = copy.found_at
            saga.found_as = copy.found_as
            saga.begun = copy.begun
            if self._may_advance(saga):
                self.advanced.append(saga)
        actors: dict[UUID | None, ActorContext] = {
            saga.about_id: saga_rows.acting_for(saga) for saga in self.advanced if saga.about_id
        }
        with journal.acting_for(actors):
            continuing = [saga for saga in self.advanced if self._record_result(saga)]
            # The journal has them before what later steps write.
            self._write_lines()
            self._advance(continuing)
            self._end_compensated()
            self._write_lines()
        saga_rows.save(self.advanced)
        for saga in self.rows.values():
            saga.result = None

    def put_off(self, result: StepResult, seconds: float | None) -> None:
        # What is put off without a rest is due all the same, so that a locked row is left for the next time.
        self.rows = saga_rows.read_sagas(self.copies, skip_locked=seconds is None)
        final = saga_rows.final_results(self.rows)
        for id, saga in self.rows.items():
            saga.final = final[id]
            # One that this executor has leased since is in progress.
            has_begun = saga.lease_token == self.token != self.copies[id].lease_token
            # Another look, or this one before its reply to COMMIT was lost, was first.
            is_counted = seconds is None and saga.state == State.STUCK
            if has_begun or is_counted or not self._may_advance(saga):
                continue
            self._log_attempt(saga, saga.next_step, result)
            if self._is_overdue(saga):
                self._mark_stuck(saga)
            saga.change(**UNLEASED)
            if seconds is not None:
                self._rest_until(saga, self.now + timedelta(seconds=seconds))
        self._write_lines()
        saga_rows.save(self.rows.values())

    def _write_lines(self) -> None:
        saga_rows.write_lines(self.lines, at=clock.now())
        self.lines.clear()

    def _may_advance(self, saga: SagaRow) -> bool:
        """Whether this executor may act on it: by its lease, a lease that has lapsed, or a final result."""
        copy = self.copies[saga.id]
        if saga.state not in UNFINISHED:
            return False
        at = saga.next_attempt_at
        claim = progress.claim(
            holds=saga.lease_token == self.token,
            held=copy.lease_token == self.token,
            is_leased=saga.is_leased(self.now),
            has_token=bool(saga.lease_token),
            is_put_off=at is not None and at > self.now and at != copy.next_attempt_at,
            result=saga.result.event if saga.result else "",
            is_called=copy.is_calling,
        )
        if claim == Claim.LEASE_LOST:
            self._log_attempt(saga, saga.next_step, LEASE_LOST)
        return claim != Claim.NONE

    # The result of a call, or of a batch that failed

    def _record_result(self, saga: SagaRow) -> bool:
        """Record the result of the saga's next step. Returns whether the saga continues in this batch."""
        result = saga.result
        step = saga.next_step
        if not result:
            return True
        turn = progress.turn_after(result.event, result.code, can_compensate=saga.can_compensate(step))
        if turn == Turn.RETRY and result.event == Event.REFUSED:
            result = StepResult(Event.FAILED, f"refused: {result.detail}", reference=result.reference)
        if isinstance(step, OutsideStep) and step.on_result and saga.direction == DO:
            step.on_result(saga, result)
        if turn == Turn.RETRY:
            if not self._rest(saga, step, result):
                return False
        elif step is None:
            return True
        else:
            self._add_final_line(saga, step, saga.direction, result)
        if turn == Turn.COMPENSATE:
            saga.start_compensation(result.code, result.detail)
        if self.mode == SINGLE:
            self._lease(saga)
        return self.mode != SINGLE

    def _rest(self, saga: SagaRow, step: Step | None, result: StepResult) -> bool:
        """Let the saga rest without a lease until it is retried, or its action ends; its open call stays.

        Returns whether it continues instead, to be compensated: its deadline has passed, or the action ended.
        """
        action = result.action
        name = call_name(_name(step), saga.direction)
        until = action.expires_at if action else saga.deadline_at
        is_over = self.now >= until
        is_uncalled = result.code == NOT_CALLED and saga.direction == DO and not is_over
        if is_uncalled:
            saga.change(last_error=result.detail[:255])
        elif action is None:
            self._log_attempt(saga, step, result)
        turn = progress.turn_of_attempt(
            is_over=is_over, needs_operator=result.needs_operator, can_compensate=saga.can_compensate(step)
        )
        if turn == Turn.NEEDS_OPERATOR:
            self._mark_stuck(saga)
        elif turn == Turn.COMPENSATE:
            saga.start_compensation(*(NOT_CONFIRMED if action else OUTCOME_UNKNOWN))
            return True
        if action:
            # Never overdue while it rests: there is time for the look-up that ends it.
            least = until + timedelta(seconds=LEASE_SECONDS)
            deadline_at = max(action.deadline_at or saga.deadline_at, least)
            # The journal has one line of a new action, which moves the deadline, also if this is repeated.
            is_noted = not saga.lease_token and saga.deadline_at == deadline_at
            if action.deadline_at and not is_noted:
                journal.note_all(
                    [saga_rows.journal_line(SagaLogLine(saga, _name(step), DO, result), self.now)]
                )
            saga.change(deadline_at=deadline_at)
            self.committed.append(f"{name} waits for an action")
        else:
            attempts, most_seconds = progress.retry_pause(
                saga.attempts,
                self.now,
                saga.deadline_at,
                is_uncalled=is_uncalled,
                is_undo=saga.direction == UNDO,
            )
            retry_at = backoff.retry_at(
                attempts, self.now, most_seconds=most_seconds or backoff.LONGEST_SECONDS
            )
            until = retry_at if is_over else min(retry_at, until)
            self.committed.append(f"{name} postponed")
        self._rest_until(saga, until)
        return False

    def _rest_until(self, saga: SagaRow, at: datetime) -> None:
        # Later is never, to `clock.has_come`: the saga would be due at once, again and again.
        at = min(at, self.now + timedelta(seconds=LONGEST_REST_SECONDS))
        usual = WorkClass.AGAIN if saga.direction == DO else WorkClass.RECOVERY
        saga.change(next_attempt_at=at, work_class=saga.type.class_of(usual), **UNLEASED)

    def _log_attempt(self, saga: SagaRow, step: Step | None, result: StepResult) -> None:
        """Log an attempt that was not final. Past its deadline what can't be compensated is stuck."""
        saga.change(attempts=saga.attempts + 1, last_error=result.detail[:255])
        self.lines.append(SagaLogLine(saga, _name(step), saga.direction, result, attempt=saga.attempts))
        if progress.is_stuck(self.now, saga.deadline_at, can_compensate=saga.can_compensate(step)):
            self._mark_stuck(saga)

    def _mark_stuck(self, saga: SagaRow) -> None:
        if saga.state != State.STUCK:
            log.error("saga is stuck", saga=saga.id, kind=saga.kind, attempts=saga.attempts)
            saga.type.on_stuck(saga)
            saga.change(state=State.STUCK.value)

    def _is_overdue(self, saga: SagaRow) -> bool:
        return self.now >= saga.deadline_at

    def _add_final_line(self, saga: SagaRow, step: Step, direction: str, result: StepResult) -> None:
        name = call_name(step.name, direction)
        saga.final[step.name, direction] = result
        if direction == DO and step not in saga.type.reversible and not saga.is_irreversible:
            saga.change(is_irreversible=True)
        if saga.open_call == name:
            saga.change(open_call="")
        self.lines.append(SagaLogLine(saga, step.name, direction, result))
        self.committed.append(name)

    # The next step

    def _advance(self, sagas: Sagas) -> None:
        """Do the next local step of each saga, and schedule what follows.

        Later steps run first: they lock stock and coupons, earlier ones wallets.
        """
        waiting: dict[LocalStep, list[SagaRow]] = defaultdict(list)
        for saga in sagas:
            step = saga.next_step
            if isinstance(step, LocalStep) and saga.direction == DO and self._may_start(saga, step):
                waiting[step].append(saga)
            else:
                self._schedule_next(saga)
        for step in reversed(sagas[0].type.steps if sagas else ()):
            if isinstance(step, LocalStep) and step in waiting:
                self._do(step, waiting[step])

    def _may_start(self, saga: SagaRow, step: Step) -> bool:
        """Whether the step may be started; an overdue saga is compensated instead, if it still can be."""
        is_too_late = progress.is_too_late(
            self.now,
            saga.deadline_at,
            can_compensate=saga.can_compensate(step),
            is_repeat=saga.is_repeat_of(step),
        )
        if is_too_late:
            saga.start_compensation(*TOO_LATE)
        return not is_too_late

    def _do(self, step: LocalStep, sagas: Sagas) -> None:
        with tracing.span(f"saga step {step.name} do"), STEP_SECONDS.labels(step.name).time():
            outcomes = step.do(sagas)
        for saga, outcome in zip(sagas, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                saga.result = StepResult(Event.REFUSED, str(outcome), code=outcome.code)
                if not self._record_result(saga):
                    continue
            else:
                self._add_final_line(saga, step, DO, StepResult(Event.DONE, outcome))
            self._schedule_next(saga)

    def _schedule_next(self, saga: SagaRow) -> None:
        """Schedule the next action: the end, an outside call, or another batch."""
        step = saga.next_step
        action = progress.next_action(
            is_undo=saga.direction == UNDO,
            is_other_direction=self.mode not in (SINGLE, saga.direction),
            has_step=step is not None,
            is_outside=isinstance(step, OutsideStep),
        )
        if action == Action.UNDO:
            undone = self._skip_without_effect(saga)
            if isinstance(undone, OutsideStep):
                self._call(saga, undone)
            else:
                self.compensated.append(saga)
        elif action == Action.END:
            self._end(saga, State.DONE)
        elif action == Action.CALL and isinstance(step, OutsideStep) and self._may_start(saga, step):
            self._call(saga, step)
        else:
            self._lease(saga)

    def _call(self, saga: SagaRow, step: OutsideStep) -> None:
        """Schedule the call of the step. `open_call` is committed before the call."""
        call = call_name(step.name, saga.direction)
        saga.is_calling = True
        saga.is_repeat = saga.is_repeat_of(step)
        if step.give_up_seconds and saga.direction == DO and not saga.is_repeat:
            saga.change(deadline_at=self.now + timedelta(seconds=step.give_up_seconds))
        saga.is_overdue = self._is_overdue(saga)
        self._lease(saga, open_call=call)

    def _lease(self, saga: SagaRow, **more: str) -> None:
        """Lease it: once the lease has lapsed, it is work of recovery."""
        until = self.now + timedelta(seconds=LEASE_SECONDS)
        saga.change(
            lease_token=self.token,
            leased_until=until,
            next_attempt_at=until,
            work_class=saga.type.class_of(WorkClass.RECOVERY),
            **more,
        )

    def _end(self, saga: SagaRow, state: State) -> None:
        saga.change(state=state.value, ended_at=self.now, next_attempt_at=None, open_call="", **UNLEASED)
        self.committed.append("ended")

    # Compensation

    def _skip_without_effect(self, saga: SagaRow) -> Step | None:
        """The next step to undo, after outside steps that were refused or skipped, or never called.

        A step without a result gets a void line, which rejects a late one of its `do`.
        """
        for each in saga.type.reversible:
            # The undo of another step may be opened in the place of its call.
            if (each.name, DO) not in saga.final and saga.may_have_done(each):
                self._add_final_line(saga, each, DO, NEVER_RAN)
        while isinstance(step := saga.next_step, OutsideStep) and not saga.may_have_done(step):
            if (step.name, DO) not in saga.final:
                self._add_final_line(saga, step, DO, NEVER_RAN)
            self._add_final_line(saga, step, UNDO, SKIPPED)
        return step

    def _end_compensated(self) -> None:
        """Undo the remaining steps, all local, and end these sagas: readers never see them half undone."""
        if not self.compensated:
            return
        # Of one type, as all that share a batch. Readers see no step between, so the lock order decides: that
        # in which they were done.
        saga_type = self.compensated[0].type
        for step in saga_type.reversible:
            if isinstance(step, LocalStep):
                self._undo(step, self.compensated)
        self._write_lines()
        saga_type.on_compensated(self.compensated)
        for saga in self.compensated:
            self._end(saga, State.COMPENSATED)

    def _undo(self, step: LocalStep, sagas: Sagas) -> None:
        """Undo a local step where it has taken effect; the others get final lines that skip it."""
        assert step.undo
        left = [saga for saga in sagas if (step.name, UNDO) not in saga.final]
        applied = [saga for saga in left if saga.final.get((step.name, DO), NEVER_RAN).event in APPLIED]
        undone: dict[UUID, str | StepResult] = {}
        if applied:
            with tracing.span(f"saga step {step.name} undo"), STEP_SECONDS.labels(step.name).time():
                undone = dict(zip([saga.id for saga in applied], step.undo(applied), strict=True))
        for saga in left:
            if (step.name, DO) not in saga.final:
                self._add_final_line(saga, step, DO, NEVER_RAN)
            result = undone.get(saga.id, SKIPPED)
            if isinstance(result, str):
                result = StepResult(Event.DONE, result)
            self._add_final_line(saga, step, UNDO, result)


def _name(step: Step | None) -> str:
    """The name by which the log has a step, or the saga's end."""
    return step.name if step else "end"
