"""Advances many sagas in one transaction: only this module and operators change the state of a saga.

Each effect happens once because the sagas' rows are locked, a final line of the log is unique per saga,
step and direction, and only the holder of the lease acts. A final result is recorded even when the lease
was lost meanwhile: otherwise calls longer than a lease would be repeated without end.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from structlog import get_logger

from orders.models import Saga
from orders.saga import log, observation
from orders.saga.definitions import (
    DO,
    LEASE_LOST,
    LEASE_SECONDS,
    NOT_CONFIRMED,
    OUTCOME_UNKNOWN,
    RETRYABLE,
    TOO_LATE,
    UNDO,
    UNFINISHED,
    Attempt,
    BatchResult,
    Callback,
    Event,
    FreeSlots,
    LocalStep,
    LockedSaga,
    OutsideStep,
    SagaRow,
    SagaRun,
    Step,
    StepResult,
    call_name,
    refusal_or_failure,
    slot_of,
)
from orders.saga.log import SagaLogLine
from shop.db import open_transaction, transactions
from shop.errors import Rejected
from shop.events import journal
from shop.events.journal import ActorContext
from shop.observability import tracing
from shop.outbound import backoff

logger = get_logger(__name__)
# The delay before a saga that found no free slot is retried.
NO_SLOT_DELAY_SECONDS = 5.0


def advance(
    runs: Sequence[SagaRun],
    *,
    token: str,
    clock: Callable[[], datetime],
    free_slots: FreeSlots,
    direction: str = DO,
    is_single: bool = False,
    failpoint: Callable[[str], None],
    after_commit: Callable[[Sequence[Callback]], None],
) -> BatchResult:
    """Advance these sagas by a step, durable when it returns; raises what a step raised, with nothing done.

    `after_commit` gets the callbacks of what has committed: they must not follow from the attempt, whose
    reply may be lost, as its repeat finds the sagas advanced. It must be quick and make no query.

    `token` identifies the executor as lease holder. A shared batch advances sagas of one `direction`, so that
    all batches lock the same rows in one order, and leaves out a saga whose rows another transaction has
    locked. A single batch (`is_single`) waits for them, reads everything again, and either records a result
    or does a step: a step that raises loses no result, and counts as an attempt.
    """
    batches: list[_Batch] = []

    def work() -> list[LockedSaga]:
        batch = _Batch(token, clock, free_slots, direction, is_single)
        batches.append(batch)
        locked = batch.advance(runs)
        open_transaction.count_after_commit(after_commit, batch.batch_result.callbacks())
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
        if failed is None or failed.failure:
            raise
        logger.warning("saga step failed", saga=str(failed.saga_id), exc_info=error)
        failed.failure = refusal_or_failure(error)
        return BatchResult(to_continue=[failed])
    for item in locked:
        run = item.run
        run.saga = item.saga
        run.step, run.direction, run.result, run.failure = item.step, item.direction, item.result, None
    batch_result = batches[-1].batch_result
    observation.log_ended(batches[-1].ended, Saga.State.DONE)
    observation.log_ended(chain.from_iterable(batch_result.compensated.values()), Saga.State.COMPENSATED)
    failpoint(f"batch committed: {', '.join(batch_result.committed) or 'nothing final'}")
    return batch_result


class _Batch:
    """One attempt at the transaction."""

    def __init__(
        self,
        token: str,
        clock: Callable[[], datetime],
        free_slots: FreeSlots,
        direction: str,
        is_single: bool,
    ) -> None:
        self.token, self.clock, self.direction, self.is_single = token, clock, direction, is_single
        self.now = clock()
        self.leased_until = self.now + timedelta(seconds=LEASE_SECONDS)
        self.free_slots = dict(free_slots)
        self.batch_result = BatchResult()
        self.lines: list[SagaLogLine] = []
        self.leases: dict[str, list[SagaRow]] = defaultdict(list)
        self.irreversible: list[SagaRow] = []
        self.ended: list[SagaRow] = []
        self.without_slot: dict[str, list[SagaRow]] = defaultdict(list)
        self.compensated: dict[str, list[LockedSaga]] = defaultdict(list)
        # The run of a single batch, once its row is locked.
        self.failed_run: SagaRun | None = None

    def advance(self, runs: Sequence[SagaRun]) -> list[LockedSaga]:
        locked = self._lock(runs)
        actors: dict[UUID | None, ActorContext] = {
            item.saga.about_id: log.acting_for(item.saga) for item in locked if item.saga.about_id
        }
        with journal.acting_for(actors):
            continuing = [item for item in locked if self._record_result(item)]
            # Written first: later steps read these results.
            self._write_lines()
            self._advance(continuing)
            self._end_compensated()
            self._write_lines()
        for open_call, sagas in self.leases.items():
            log.lease(sagas, token=self.token, until=self.leased_until, open_call=open_call)
            for saga in sagas:
                saga.lease_token, saga.leased_until = self.token, self.leased_until
        later = self.now + timedelta(seconds=NO_SLOT_DELAY_SECONDS)
        for open_call, sagas in self.without_slot.items():
            log.postpone(sagas, until=later, open_call=open_call)
        log.mark_irreversible(self.irreversible)
        log.end(self.ended, Saga.State.DONE.value, at=self.now)
        return locked

    def _write_lines(self) -> None:
        log.write_lines(self.lines, at=self.clock())
        self.lines.clear()

    def _lock(self, runs: Sequence[SagaRun]) -> list[LockedSaga]:
        """The sagas that this executor may act on, locked; the others' runs go into the result."""
        locked = log.lock_sagas(runs, token=self.token, is_single=self.is_single)
        self.batch_result.locked_elsewhere += locked.locked_elsewhere
        self.batch_result.released += locked.missing
        if self.is_single:
            self.failed_run = next((item.run for item in locked.sagas), None)
        return [item for item in locked.sagas if self._is_ours(item)]

    def _is_ours(self, item: LockedSaga) -> bool:
        """Whether this executor may act on it: by its lease, a lease that has lapsed, or a final result."""
        saga, holds = item.saga, item.saga.lease_token == self.token
        if saga.state in UNFINISHED:
            if holds and item.run.saga is not None:
                return True
            if saga.leased_until is None or saga.leased_until <= self.now:
                if saga.lease_token:
                    self._count_lost_lease(item)
                return True
            if holds or (item.is_recordable and item.result and item.result.event not in RETRYABLE):
                return True
        self.batch_result.released.append(item.run)
        return False

    def _count_lost_lease(self, item: LockedSaga) -> None:
        """Count the lost lease as an attempt: its worker recorded nothing, but may have made its call."""
        item.has_lost_lease = True
        if item.is_recordable:
            return
        saga, step = item.saga, item.next_step
        self._log_attempt(item, step.name if step else "end", LEASE_LOST)
        is_stuck = self._is_overdue(saga) and not (step and item.can_compensate(step))
        Saga.objects.filter(id=saga.id).update(
            attempts=saga.attempts,
            last_error=LEASE_LOST.detail,
            state=self._mark_stuck(item) if is_stuck else saga.state,
        )

    def _record_result(self, item: LockedSaga) -> bool:
        """Record the result of the run's call. Returns whether the saga continues in this batch."""
        if item.failure:
            item.step, item.direction = item.next_step.name if item.next_step else "", item.saga.direction
            item.result, item.failure = item.failure, None
        result, step = item.result, item.next_step
        if result and not step and result.event in RETRYABLE and self.is_single:
            return self._retry_later(item, None, result)
        if not result or not step or not item.is_recordable:
            item.result = None
            return True
        item.result = None
        if result.event == Event.REFUSED and not item.can_compensate(step):
            # Past the point of no return a refusal counts as a failed attempt.
            result = StepResult(Event.FAILED, f"refused: {result.detail}", reference=result.reference)
        if isinstance(step, OutsideStep) and step.on_result and item.direction == DO:
            step.on_result(item.saga, result)
        if result.action:
            if not self._wait_for_action(item, step, result):
                return False
        elif result.event in RETRYABLE and not self._retry_later(item, step, result):
            return False
        if result.event not in RETRYABLE:
            self._add_final_line(item, step, item.direction, result)
        if result.event == Event.REFUSED:
            log.start_compensation(item.saga, result.code, result.detail)
        if self.is_single:
            self._continue_in_next_batch(item)
        return not self.is_single

    def _retry_later(self, item: LockedSaga, step: Step | None, result: StepResult) -> bool:
        """Log the attempt; past the deadline start the compensation. Returns whether the saga continues."""
        saga = item.saga
        name = step.name if step else "end"
        self._log_attempt(item, name, result)
        attempt: dict[str, Any] = {"attempts": saga.attempts, "last_error": result.detail[:255]}
        is_overdue = self._is_overdue(saga)
        if is_overdue and step and item.can_compensate(step):
            log.start_compensation(saga, *OUTCOME_UNKNOWN)
            Saga.objects.filter(id=saga.id).update(**attempt)
            return True
        pause, left = backoff.pause_seconds(saga.attempts), (saga.deadline_at - self.now).total_seconds()
        Saga.objects.filter(id=saga.id).update(
            **attempt,
            state=self._mark_stuck(item) if is_overdue else saga.state,
            next_attempt_at=self.now + timedelta(seconds=pause if is_overdue else min(pause, left)),
            queued_at=None,
            leased_until=None,
            lease_token="",
        )
        self.batch_result.released.append(item.run)
        self.batch_result.postponed[saga.kind].append(saga)
        self.batch_result.committed.append(f"{call_name(name, saga.direction)} postponed")
        return False

    def _wait_for_action(self, item: LockedSaga, step: Step, result: StepResult) -> bool:
        """Let the saga rest without a lease until the action ends. Returns whether it continues now."""
        action = result.action
        assert action
        if action.expires_at <= self.now and item.can_compensate(step):
            log.start_compensation(item.saga, *NOT_CONFIRMED)
            return True
        log.wait_for_action(item.saga, step.name, result, at=self.now)
        if action.deadline_at:
            self.batch_result.waiting[item.saga.kind].append(item.saga)
        self.batch_result.released.append(item.run)
        self.batch_result.committed.append(f"{call_name(step.name, DO)} waits for an action")
        return False

    def _log_attempt(self, item: LockedSaga, step: str, result: StepResult) -> None:
        saga = item.saga
        saga.attempts += 1
        self.lines.append(SagaLogLine(saga, step, saga.direction, result, attempt=saga.attempts))

    def _mark_stuck(self, item: LockedSaga) -> str:
        if item.saga.state != Saga.State.STUCK:
            logger.error(
                "saga is stuck", saga=str(item.saga.id), kind=item.saga.kind, attempts=item.saga.attempts
            )
            item.type.on_stuck([item.saga])
        return Saga.State.STUCK.value

    def _is_overdue(self, saga: SagaRow) -> bool:
        return self.now >= saga.deadline_at

    def _add_final_line(self, item: LockedSaga, step: Step, direction: str, result: StepResult) -> None:
        item.saga.final[step.name, direction] = result
        if direction == DO and step not in item.type.reversible and not item.saga.is_irreversible:
            item.saga.is_irreversible = True
            self.irreversible.append(item.saga)
        if item.saga.open_call == call_name(step.name, direction):
            item.saga.open_call = ""
        self.lines.append(SagaLogLine(item.saga, step.name, direction, result))
        self.batch_result.committed.append(call_name(step.name, direction))

    def _advance(self, locked: Sequence[LockedSaga]) -> None:
        """Do the next local step of each saga, and schedule what follows.

        Later steps run first: they lock stock and coupons, earlier ones wallets.
        """
        waiting: dict[tuple[int, str], list[LockedSaga]] = defaultdict(list)
        for item in locked:
            step = item.next_step
            if isinstance(step, LocalStep) and item.saga.direction == DO and self._may_start(item, step):
                waiting[item.type.steps.index(step), item.type.name].append(item)
            else:
                self._schedule_next(item)
        for (position, _), items in sorted(waiting.items(), reverse=True):
            self._do(items[0].type.steps[position], items)

    def _may_start(self, item: LockedSaga, step: Step) -> bool:
        """Whether the step may be started; an overdue saga is compensated instead, if it still can be."""
        is_too_late = self._is_overdue(item.saga) and item.can_compensate(step)
        if not is_too_late or item.is_repeat_of(step):
            return True
        log.start_compensation(item.saga, *TOO_LATE)
        return False

    def _do(self, step: Step, items: Sequence[LockedSaga]) -> None:
        assert isinstance(step, LocalStep)
        with tracing.span(f"saga step {call_name(step.name, DO)}"), observation.measured(step.name):
            outcomes = step.do([item.saga for item in items])
        done = []
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                item.step, item.direction = step.name, DO
                item.result = StepResult(Event.REFUSED, str(outcome), code=outcome.code)
                if self._record_result(item):
                    self._schedule_next(item)
            else:
                self._add_final_line(item, step, DO, StepResult(Event.DONE, outcome))
                done.append(item.saga)
                self._schedule_next(item)
        self.batch_result.done.append((step, done))

    def _schedule_next(self, item: LockedSaga) -> None:
        """Schedule the next action: the end, an outside call, or another batch."""
        if item.saga.direction == UNDO:
            self._schedule_next_undo(item)
            return
        step = item.next_step
        if step is None:
            self.ended.append(item.saga)
            self.batch_result.released.append(item.run)
            self.batch_result.committed.append("ended")
        elif isinstance(step, OutsideStep) and self._may_start(item, step):
            self._call(item, step)
        else:
            self._continue_in_next_batch(item)

    def _schedule_next_undo(self, item: LockedSaga) -> None:
        if self.direction == DO and not self.is_single:
            self._continue_in_next_batch(item)
            return
        step = self._skip_without_effect(item)
        if step is None or item.type.only_local_from(step):
            self.compensated[item.type.name].append(item)
            self.batch_result.released.append(item.run)
        elif isinstance(step, OutsideStep):
            self._call(item, step)
        else:
            self._undo(step, [item])
            self._continue_in_next_batch(item)

    def _continue_in_next_batch(self, item: LockedSaga) -> None:
        self.leases[item.saga.open_call].append(item.saga)
        self.batch_result.to_continue.append(item.run)

    def _call(self, item: LockedSaga, step: OutsideStep) -> None:
        """Schedule the call of the step if a slot is free. `open_call` is committed before the call."""
        is_repeat, direction = item.is_repeat_of(step), item.saga.direction
        slot = slot_of(step, direction, is_repeat=is_repeat)
        if self.free_slots.get(slot, 0) < 1:
            # Recovery retries it. Its open call shows that it is no longer a new saga.
            self.without_slot[call_name(step.name, direction)].append(item.saga)
            # Overdue is stuck wherever it waits: also one that a call would show can be compensated.
            if self._is_overdue(item.saga):
                Saga.objects.filter(id=item.saga.id).update(state=self._mark_stuck(item))
            self.batch_result.released.append(item.run)
            return
        self.free_slots[slot] -= 1
        item.step, item.direction = step.name, direction
        # A repeated event call does no harm: the lease is kept as it is, and renewed in time.
        if step.pool != "event" or item.saga.lease_token != self.token:
            item.saga.open_call = call_name(step.name, direction)
            self.leases[item.saga.open_call].append(item.saga)
        attempt = Attempt(item.saga, is_repeat=is_repeat, is_overdue=self._is_overdue(item.saga))
        self.batch_result.calls[step, direction].append((item.run, attempt))

    def _skip_without_effect(self, item: LockedSaga) -> Step | None:
        """The next step to undo, skipping outside steps that were refused or skipped.

        A step that never ran gets a void line, which rejects a late result of its `do`.
        """
        while isinstance(step := item.next_step, OutsideStep):
            done = item.saga.final.get((step.name, DO))
            if done is None:
                self._add_final_line(item, step, DO, StepResult(Event.VOID))
            if done is None or done.event not in (Event.REFUSED, Event.SKIPPED):
                break
            self._add_final_line(item, step, UNDO, StepResult(Event.SKIPPED))
        return step

    def _end_compensated(self) -> None:
        """Undo the remaining steps, all local, and end these sagas: readers never see them half undone."""
        for items in self.compensated.values():
            type, sagas = items[0].type, [item.saga for item in items]
            # In the order in which the steps were done, which is the lock order.
            for step in type.reversible:
                if isinstance(step, LocalStep):
                    self._undo(step, items)
            self._write_lines()
            type.on_compensated(sagas)
            log.end(sagas, Saga.State.COMPENSATED.value, at=self.now)
            self.batch_result.compensated[type.name] += sagas
            self.batch_result.committed += ["ended"] * len(items)

    def _undo(self, step: LocalStep, items: Sequence[LockedSaga]) -> None:
        """Undo a local step where it has taken effect; the others get final lines that skip it."""
        assert step.undo
        left = [item for item in items if (step.name, UNDO) not in item.saga.final]
        applied = [item for item in left if item.has_applied(step)]
        details: Sequence[str | StepResult] = []
        if applied:
            with tracing.span(f"saga step {call_name(step.name, UNDO)}"), observation.measured(step.name):
                details = step.undo([item.saga for item in applied])
        for item, detail in zip(applied, details, strict=True):
            result = detail if isinstance(detail, StepResult) else StepResult(Event.DONE, detail)
            self._add_final_line(item, step, UNDO, result)
        for item in left:
            if (step.name, DO) not in item.saga.final:
                self._add_final_line(item, step, DO, StepResult(Event.VOID))
            if (step.name, UNDO) not in item.saga.final:
                self._add_final_line(item, step, UNDO, StepResult(Event.SKIPPED))
