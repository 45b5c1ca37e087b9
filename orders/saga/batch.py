"""Advances many sagas in one transaction: only this module and operators change the state of a saga.

Each effect happens once because the sagas' rows are locked, a final line of the log is unique per saga,
step and direction, and only the holder of the lease acts. A final result is recorded even when the lease
was lost meanwhile: otherwise calls longer than a lease would be repeated without end.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from structlog import get_logger

from orders.models import Saga
from orders.saga import log, observation
from orders.saga.definitions import (
    APPLIED,
    DO,
    LEASE_LOST,
    LEASE_SECONDS,
    NOT_CONFIRMED,
    OUTCOME_UNKNOWN,
    RETRYABLE,
    SAGA_TYPES,
    TOO_LATE,
    UNDO,
    UNFINISHED,
    Attempt,
    Attempts,
    Event,
    LocalStep,
    OutsideStep,
    SagaRow,
    SagaRun,
    Step,
    StepResult,
    call_name,
    refusal_or_failure,
)
from orders.saga.log import SagaLogLine
from shop import clock
from shop.db import open_transaction, transactions
from shop.errors import Rejected
from shop.events import journal
from shop.events.journal import ActorContext
from shop.observability import tracing
from shop.outbound import backoff

logger = get_logger(__name__)
State = Saga.State
# The delay before a saga that found no free slot is retried.
NO_SLOT_DELAY_SECONDS = 5.0
NEVER_RAN = StepResult(Event.VOID)


def advance(
    runs: Sequence[SagaRun],
    *,
    token: str,
    free_recovery: int,
    direction: str = DO,
    is_single: bool = False,
    failpoint: Callable[[str], None],
    after_commit: Callable[[Sequence[Callable[[], None]]], None],
) -> "Batch":
    """Advance these sagas by a step, durable when it returns; raises what a step raised, with nothing done.

    `after_commit` gets the notifications of what has committed, and must be quick and make no query. `token`
    identifies the executor as lease holder, and `free_recovery` is how many more calls of recovery it may
    make now. A shared batch advances sagas of one `direction`, so that all
    lock the same rows in one order, and leaves out a saga whose rows another transaction has locked. A single
    batch (`is_single`) waits for them, and either records a result or does a step: a step that raises loses
    no result, and counts as an attempt.
    """
    new_batch = partial(Batch, runs, token, free_recovery, direction, is_single)
    batches: list[Batch] = []

    def work() -> list[SagaRow]:
        batches.append(new_batch())
        locked = batches[-1].advance()
        notified = batches[-1].notified.items()
        notifications = [partial(SAGA_TYPES[kind].notify, sagas) for kind, sagas in notified]
        open_transaction.count_after_commit(after_commit, notifications)
        failpoint("batch decided")
        return locked

    failpoint("batch begins")
    try:
        locked = transactions.run(work, transactions.KEYED)
    except transactions.DatabaseUnavailable:
        raise
    except Exception as error:
        failed = batches[-1].failed_run if batches else None
        # If recording the failure failed too, recovery takes over and counts the lost lease.
        if failed is None or (failed.result and not failed.step):
            raise
        logger.warning("saga step failed", saga=str(failed.saga_id), exc_info=error)
        failed.step, failed.result = "", refusal_or_failure(error)
        batch = new_batch()
        batch.to_continue.append(failed)
        return batch
    batch = batches[-1]
    # The runs change only now, because the transaction may have been retried.
    for saga in locked:
        run = batch.runs[saga.id]
        run.saga, run.result = saga, None
    for state, sagas in batch.ended.items():
        observation.log_ended(sagas, state)
    failpoint(f"batch committed: {', '.join(batch.committed) or 'nothing final'}")
    return batch


class Batch:
    """One attempt at the transaction, and its result: the runs that continue in another batch, the calls to
    make by step and direction, the runs `locked_elsewhere`, and those `released`. `notified` are the sagas to
    notify of, by type; `committed` names the final lines that were written, in order.
    """

    def __init__(
        self,
        runs: Sequence[SagaRun],
        token: str,
        free_recovery: int,
        direction: str,
        is_single: bool,
    ) -> None:
        self.runs = {run.saga_id: run for run in runs}
        self.token, self.direction, self.is_single, self.now = token, direction, is_single, clock.now()
        self.leased_until = self.now + timedelta(seconds=LEASE_SECONDS)
        self.free_recovery = free_recovery
        self.to_continue: list[SagaRun] = []
        self.calls: dict[tuple[OutsideStep, str], Attempts] = defaultdict(list)
        self.locked_elsewhere: list[SagaRun] = []
        self.released: list[SagaRun] = []
        self.notified: dict[str, list[SagaRow]] = defaultdict(list)
        self.committed: list[str] = []
        self.lines: list[SagaLogLine] = []
        self.leases: dict[str, list[SagaRow]] = defaultdict(list)
        self.irreversible: list[SagaRow] = []
        self.without_slot: dict[str, list[SagaRow]] = defaultdict(list)
        self.compensated: dict[str, list[SagaRow]] = defaultdict(list)
        self.ended: dict[str, list[SagaRow]] = {State.DONE.value: [], State.COMPENSATED.value: []}
        # The run of a single batch, once its row is locked.
        self.failed_run: SagaRun | None = None

    def advance(self) -> list[SagaRow]:
        locked, self.locked_elsewhere, self.released = log.lock_sagas(
            self.runs.values(), token=self.token, is_single=self.is_single
        )
        self.failed_run = next((self.runs[saga.id] for saga in locked if self.is_single), None)
        locked = [saga for saga in locked if self._is_ours(saga)]
        actors: dict[UUID | None, ActorContext] = {
            saga.about_id: log.acting_for(saga) for saga in locked if saga.about_id
        }
        with journal.acting_for(actors):
            continuing = [saga for saga in locked if self._record_result(saga)]
            # Written first: later steps read these results.
            self._write_lines()
            self._advance(continuing)
            self._end_compensated()
            self._write_lines()
        for open_call, sagas in self.leases.items():
            until = self.leased_until
            log.update(
                sagas, lease_token=self.token, leased_until=until, next_attempt_at=until, open_call=open_call
            )
            for saga in sagas:
                saga.lease_token, saga.leased_until = self.token, self.leased_until
        later = self.now + timedelta(seconds=NO_SLOT_DELAY_SECONDS)
        for open_call, sagas in self.without_slot.items():
            log.update(sagas, next_attempt_at=later, **log.UNLEASED, open_call=open_call)
        log.update(self.irreversible, is_irreversible=True)
        log.end(self.ended[State.DONE], State.DONE.value, at=self.now)
        return locked

    def _write_lines(self) -> None:
        log.write_lines(self.lines, at=clock.now())
        self.lines.clear()

    def _release(self, saga: SagaRow) -> None:
        self.released.append(self.runs[saga.id])

    def _is_ours(self, saga: SagaRow) -> bool:
        """Whether this executor may act on it: by its lease, a lease that has lapsed, or a final result."""
        run, holds = self.runs[saga.id], saga.lease_token == self.token
        if saga.state in UNFINISHED:
            if holds and run.saga is not None:
                return True
            if saga.leased_until is None or saga.leased_until <= self.now:
                if saga.lease_token:
                    self._count_lost_lease(saga)
                return True
            if holds or (run.step and saga.result and saga.result.event not in RETRYABLE):
                return True
        self._release(saga)
        return False

    def _count_lost_lease(self, saga: SagaRow) -> None:
        """Count the lost lease as an attempt: its worker recorded nothing, but may have made its call."""
        saga.has_lost_lease = True
        if saga.result:
            return
        step = saga.next_step
        self._log_attempt(saga, step, LEASE_LOST)
        is_stuck = self._is_overdue(saga) and not (step and saga.can_compensate(step))
        Saga.objects.filter(id=saga.id).update(
            attempts=saga.attempts,
            last_error=LEASE_LOST.detail,
            state=self._mark_stuck(saga) if is_stuck else saga.state,
        )

    def _record_result(self, saga: SagaRow) -> bool:
        """Record the result of the saga's next step. Returns whether the saga continues in this batch."""
        result, step = saga.result, saga.next_step
        if not result or (step is None and result.event not in RETRYABLE):
            return True
        if step is None:
            return self._retry_later(saga, None, result)
        if result.event == Event.REFUSED and not saga.can_compensate(step):
            # Past the point of no return a refusal counts as a failed attempt.
            result = StepResult(Event.FAILED, f"refused: {result.detail}", reference=result.reference)
        if isinstance(step, OutsideStep) and step.on_result and saga.direction == DO:
            step.on_result(saga, result)
        if result.action:
            if not self._wait_for_action(saga, step, result):
                return False
        elif result.event in RETRYABLE and not self._retry_later(saga, step, result):
            return False
        if result.event not in RETRYABLE:
            self._add_final_line(saga, step, saga.direction, result)
        if result.event == Event.REFUSED:
            log.start_compensation(saga, result.code, result.detail)
        if self.is_single:
            self._continue_in_next_batch(saga)
        return not self.is_single

    def _retry_later(self, saga: SagaRow, step: Step | None, result: StepResult) -> bool:
        """Log the attempt; past the deadline start the compensation. Returns whether the saga continues."""
        self._log_attempt(saga, step, result)
        attempt: dict[str, Any] = {"attempts": saga.attempts, "last_error": result.detail[:255]}
        is_overdue = self._is_overdue(saga)
        if is_overdue and step and saga.can_compensate(step):
            log.start_compensation(saga, *OUTCOME_UNKNOWN)
            Saga.objects.filter(id=saga.id).update(**attempt)
            return True
        pause, left = backoff.pause_seconds(saga.attempts), (saga.deadline_at - self.now).total_seconds()
        Saga.objects.filter(id=saga.id).update(
            **attempt,
            state=self._mark_stuck(saga) if is_overdue else saga.state,
            next_attempt_at=self.now + timedelta(seconds=pause if is_overdue else min(pause, left)),
            queued_at=None,
            **log.UNLEASED,
        )
        self._release(saga)
        if saga.type.notifies_attempts:
            self.notified[saga.kind].append(saga)
        self.committed.append(f"{call_name(_name(step), saga.direction)} postponed")
        return False

    def _wait_for_action(self, saga: SagaRow, step: Step, result: StepResult) -> bool:
        """Let the saga rest without a lease until the action ends. Returns whether it continues now."""
        action = result.action
        assert action
        if action.expires_at <= self.now and saga.can_compensate(step):
            log.start_compensation(saga, *NOT_CONFIRMED)
            return True
        log.wait_for_action(saga, step.name, result, at=self.now)
        if action.deadline_at:
            self.notified[saga.kind].append(saga)
        self._release(saga)
        self.committed.append(f"{call_name(step.name, DO)} waits for an action")
        return False

    def _log_attempt(self, saga: SagaRow, step: Step | None, result: StepResult) -> None:
        saga.attempts += 1
        self.lines.append(SagaLogLine(saga, _name(step), saga.direction, result, attempt=saga.attempts))

    def _mark_stuck(self, saga: SagaRow) -> str:
        if saga.state != State.STUCK:
            logger.error("saga is stuck", saga=str(saga.id), kind=saga.kind, attempts=saga.attempts)
            saga.type.on_stuck([saga])
        return State.STUCK.value

    def _is_overdue(self, saga: SagaRow) -> bool:
        return self.now >= saga.deadline_at

    def _add_final_line(self, saga: SagaRow, step: Step, direction: str, result: StepResult) -> None:
        saga.final[step.name, direction] = result
        if direction == DO and step not in saga.type.reversible and not saga.is_irreversible:
            saga.is_irreversible = True
            self.irreversible.append(saga)
        if saga.open_call == call_name(step.name, direction):
            saga.open_call = ""
        self.lines.append(SagaLogLine(saga, step.name, direction, result))
        self.committed.append(call_name(step.name, direction))

    def _advance(self, locked: Sequence[SagaRow]) -> None:
        """Do the next local step of each saga, and schedule what follows.

        Later steps run first: they lock stock and coupons, earlier ones wallets.
        """
        waiting: dict[tuple[int, str], list[SagaRow]] = defaultdict(list)
        for saga in locked:
            step = saga.next_step
            if isinstance(step, LocalStep) and saga.direction == DO and self._may_start(saga, step):
                waiting[saga.type.steps.index(step), saga.kind].append(saga)
            else:
                self._schedule_next(saga)
        for (position, kind), sagas in sorted(waiting.items(), reverse=True):
            self._do(SAGA_TYPES[kind].steps[position], sagas)

    def _may_start(self, saga: SagaRow, step: Step) -> bool:
        """Whether the step may be started; an overdue saga is compensated instead, if it still can be."""
        is_too_late = self._is_overdue(saga) and saga.can_compensate(step)
        if not is_too_late or saga.is_repeat_of(step):
            return True
        log.start_compensation(saga, *TOO_LATE)
        return False

    def _do(self, step: Step, sagas: Sequence[SagaRow]) -> None:
        assert isinstance(step, LocalStep)
        with (
            tracing.span(f"saga step {call_name(step.name, DO)}"),
            observation.SECONDS.labels(step.name).time(),
        ):
            outcomes = step.do(sagas)
        for saga, outcome in zip(sagas, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                saga.result = StepResult(Event.REFUSED, str(outcome), code=outcome.code)
                if self._record_result(saga):
                    self._schedule_next(saga)
                continue
            self._add_final_line(saga, step, DO, StepResult(Event.DONE, outcome))
            if step.notifies:
                self.notified[saga.kind].append(saga)
            self._schedule_next(saga)

    def _schedule_next(self, saga: SagaRow) -> None:
        """Schedule the next action: the end, an outside call, or another batch."""
        if saga.direction == UNDO:
            self._schedule_next_undo(saga)
            return
        step = saga.next_step
        if step is None:
            self.ended[State.DONE].append(saga)
            self._release(saga)
            self.committed.append("ended")
        elif isinstance(step, OutsideStep) and self._may_start(saga, step):
            self._call(saga, step)
        else:
            self._continue_in_next_batch(saga)

    def _schedule_next_undo(self, saga: SagaRow) -> None:
        if self.direction == DO and not self.is_single:
            self._continue_in_next_batch(saga)
            return
        step = self._skip_without_effect(saga)
        steps = saga.type.steps
        left = steps[: steps.index(step) + 1] if step else ()
        if all(isinstance(earlier, LocalStep) for earlier in left):
            self.compensated[saga.kind].append(saga)
            self._release(saga)
        elif isinstance(step, LocalStep):
            self._undo(step, [saga])
            self._continue_in_next_batch(saga)
        elif step:
            self._call(saga, step)

    def _continue_in_next_batch(self, saga: SagaRow) -> None:
        self.leases[saga.open_call].append(saga)
        self.to_continue.append(self.runs[saga.id])

    def _call(self, saga: SagaRow, step: OutsideStep) -> None:
        """Schedule the call of the step if a slot is free. `open_call` is committed before the call."""
        call = call_name(step.name, saga.direction)
        attempt = Attempt(saga, is_repeat=saga.is_repeat_of(step), is_overdue=self._is_overdue(saga))
        if attempt.is_recovery and self.free_recovery < 1:
            # Recovery retries it. Its open call shows that it is no longer a new saga.
            self.without_slot[call].append(saga)
            # Overdue is stuck wherever it waits: also one that a call would show can be compensated.
            if attempt.is_overdue:
                Saga.objects.filter(id=saga.id).update(state=self._mark_stuck(saga))
            self._release(saga)
            return
        self.free_recovery -= attempt.is_recovery
        saga.open_call = call
        self.leases[call].append(saga)
        self.calls[step, saga.direction].append((self.runs[saga.id], attempt))

    def _skip_without_effect(self, saga: SagaRow) -> Step | None:
        """The next step to undo, after outside steps that were refused or skipped.

        A step that never ran gets a void line, which rejects a late result of its `do`.
        """
        while isinstance(step := saga.next_step, OutsideStep):
            done = saga.final.get((step.name, DO))
            if done is None:
                self._add_final_line(saga, step, DO, NEVER_RAN)
            if done is None or done.event not in (Event.REFUSED, Event.SKIPPED):
                break
            self._add_final_line(saga, step, UNDO, StepResult(Event.SKIPPED))
        return step

    def _end_compensated(self) -> None:
        """Undo the remaining steps, all local, and end these sagas: readers never see them half undone."""
        for kind, sagas in self.compensated.items():
            # In the order in which the steps were done, which is the lock order.
            for step in SAGA_TYPES[kind].reversible:
                if isinstance(step, LocalStep):
                    self._undo(step, sagas)
            self._write_lines()
            SAGA_TYPES[kind].on_compensated(sagas)
            log.end(sagas, State.COMPENSATED.value, at=self.now)
            self.ended[State.COMPENSATED] += sagas
            self.notified[kind] += sagas
            self.committed += ["ended"] * len(sagas)

    def _undo(self, step: LocalStep, sagas: Sequence[SagaRow]) -> None:
        """Undo a local step where it has taken effect; the others get final lines that skip it."""
        assert step.undo
        left = [saga for saga in sagas if (step.name, UNDO) not in saga.final]
        applied = [saga for saga in left if saga.final.get((step.name, DO), NEVER_RAN).event in APPLIED]
        details: Sequence[str | StepResult] = []
        if applied:
            with (
                tracing.span(f"saga step {call_name(step.name, UNDO)}"),
                observation.SECONDS.labels(step.name).time(),
            ):
                details = step.undo(applied)
        for saga, detail in zip(applied, details, strict=True):
            result = detail if isinstance(detail, StepResult) else StepResult(Event.DONE, detail)
            self._add_final_line(saga, step, UNDO, result)
        for saga in left:
            if (step.name, DO) not in saga.final:
                self._add_final_line(saga, step, DO, NEVER_RAN)
            if (step.name, UNDO) not in saga.final:
                self._add_final_line(saga, step, UNDO, StepResult(Event.SKIPPED))


def _name(step: Step | None) -> str:
    """The name by which the log has a step, or the saga's end."""
    return step.name if step else "end"
