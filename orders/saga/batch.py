"""One transaction in which many sagas advance: the only place where the state of a saga changes by itself.

It records the results of outside calls, does or undoes the local steps that are next, leases sagas that
continue and ends those that are done: the same few statements for any number. A batch of one is
the single run.

Each effect happens once because the sagas' rows are locked, a final line of the log is unique per saga,
step and direction, and only the holder of the lease acts. A final result is recorded even when the lease
was lost meanwhile, as long as none stands and the direction is the same: otherwise calls longer than a
lease would be repeated without end.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from structlog import get_logger

from orders.models import Saga
from orders.saga import log
from orders.saga.definitions import (
    APPLIED,
    DO,
    LEASE_SECONDS,
    RETRYABLE,
    UNDO,
    UNFINISHED,
    Attempt,
    Event,
    LocalStep,
    OutsideStep,
    SagaRow,
    Step,
    StepResult,
    call_name,
    type_of,
)
from orders.saga.log import SagaLogLine
from orders.saga.runs import BatchResult, FreeSlots, LockedSaga, SagaRun, slot_of
from shop.db import transactions
from shop.errors import Invalid, NotFound, Rejected
from shop.events import journal
from shop.events.journal import ActorContext
from shop.outbound import backoff

logger = get_logger(__name__)
# Delay before a saga without a free slot is retried.
PUT_OFF_SECONDS = 5.0
WITHOUT_PARENT = StepResult(Event.FAILED, "The order or payment that it is for is missing.")
LEASE_LOST = StepResult(Event.FAILED, "Its worker stopped before it recorded a result.")
GAVE_UP = ("gave_up", "The outcome stayed unknown until the deadline.")
TOO_LATE = ("gave_up", "The deadline passed before it was tried.")


def advance(
    runs: Sequence[SagaRun],
    *,
    token: str,
    clock: Callable[[], datetime],
    free_slots: FreeSlots,
    direction: str = DO,
    is_single: bool = False,
    failpoint: Callable[[str], None],
) -> BatchResult:
    """Advance these sagas by a step, durably when this returns; raises what a step raised, with nothing done.

    `token` names the executor as the holder of leases. A shared batch advances sagas of one `direction`, for
    the others' sake who lock the same rows in one order, and leaves out a saga whose rows another transaction
    holds. A batch that `is_single` waits for them, trusts nothing read before, and either records a result or
    does a step: a step that raises costs no result, and counts as an attempt.
    """
    batches: list[_Batch] = []

    def work() -> list[LockedSaga]:
        batch = _Batch(
            token=token, clock=clock, free_slots=free_slots, direction=direction, is_single=is_single
        )
        batches.append(batch)
        locked = batch.advance(runs)
        failpoint("batch decided")
        return locked

    failpoint("batch begins")
    try:
        locked = transactions.run(work, transactions.KEYED)
    except transactions.DatabaseUnavailable:
        raise
    except Exception as error:
        failed = batches[-1].failed_run if batches else None
        # A failure that can't be recorded either is left to recovery, which counts the lost lease.
        if failed is None or failed.failure:
            raise
        logger.warning("saga step failed", saga=str(failed.saga_id), exc_info=error)
        failed.failure = refusal_or_failure(error)
        return BatchResult(to_continue=[failed])
    for one in locked:
        run = one.run
        run.saga = one.saga
        run.step, run.direction, run.result, run.failure = one.step, one.direction, one.result, None
    batch_result = batches[-1].batch_result
    failpoint(f"batch committed: {', '.join(batch_result.committed) or 'nothing final'}")
    return batch_result


def refusal_or_failure(error: Exception) -> StepResult:
    """What a local step raised: a refusal, or an unexpected failure."""
    if isinstance(error, Rejected | Invalid | NotFound):
        return StepResult(Event.REFUSED, error.detail, code=error.code)
    return failure(error)


def failure(error: Exception) -> StepResult:
    """An unexpected failure, which decides nothing."""
    return StepResult(Event.FAILED, f"{type(error).__name__}: {error}")


class _Batch:
    """One attempt at the transaction."""

    def __init__(
        self,
        *,
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
        self.ended: list[SagaRow] = []
        self.put_off: dict[str, list[SagaRow]] = defaultdict(list)
        self.compensated: dict[str, list[LockedSaga]] = defaultdict(list)
        # The run of a single batch, once its row is locked.
        self.failed_run: SagaRun | None = None

    def advance(self, runs: Sequence[SagaRun]) -> list[LockedSaga]:
        locked = [one for one in self._lock_sagas(runs) if self._is_ours(one)]
        behalf: dict[UUID | None, ActorContext] = {
            one.saga.about_id: log.acting_for(one.saga) for one in locked if one.saga.about_id
        }
        with journal.acting_for(behalf):
            going_on = [one for one in locked if self._record_result(one)]
            # Written first: later steps read these results.
            self._write_lines()
            self._advance(going_on)
            self._end_compensated()
            self._write_lines()
        for open_call, sagas in self.leases.items():
            log.lease(sagas, token=self.token, until=self.leased_until, open_call=open_call)
            for saga in sagas:
                saga.lease_token, saga.leased_until = self.token, self.leased_until
        for open_call, sagas in self.put_off.items():
            log.put_off(sagas, until=self.now + timedelta(seconds=PUT_OFF_SECONDS), open_call=open_call)
        log.end(self.ended, Saga.State.DONE.value, at=self.now)
        return locked

    def _write_lines(self) -> None:
        log.write_lines(self.lines, at=self.clock())
        self.lines.clear()

    def _lock_sagas(self, runs: Sequence[SagaRun]) -> Iterator[LockedSaga]:
        """The runs whose sagas exist and could be locked. What was read before may have changed meanwhile."""
        unread = [run.saga_id for run in runs if run.saga is None or self.is_single]
        sagas = log.read_sagas(unread)
        sagas |= {run.saga_id: run.saga for run in runs if run.saga_id not in sagas and run.saga}
        parents = self._lock_parents(sagas)
        # A single batch waits for locked rows: what it has not locked is not there.
        locked = log.read_sagas(sagas if self.is_single else parents, is_locked=True)
        # The lease holder's copy is current; other sagas' final results are read.
        known = {
            run.saga_id: run.saga.final
            for run in runs
            if run.saga
            and not self.is_single
            and self._holds(run.saga)
            and self._holds(locked.get(run.saga_id))
        }
        final = log.final_results([saga_id for saga_id in locked if saga_id not in known]) | known
        for run in runs:
            saga = locked.get(run.saga_id)
            if saga:
                saga.final, saga.parent = dict(final.get(saga.id, {})), parents.get(saga.id)
                failure = run.failure if saga.id in parents else WITHOUT_PARENT
                self.failed_run = run if self.is_single else None
                yield LockedSaga(run, saga, type_of(saga), run.step, run.direction, run.result, failure)
            elif run.saga_id in sagas and run.saga_id not in parents:
                self.batch_result.locked_elsewhere.append(run)
            else:
                self.batch_result.released.append(run)

    def _lock_parents(self, sagas: Mapping[UUID, SagaRow]) -> dict[UUID, Any]:
        by_type: dict[str, list[SagaRow]] = defaultdict(list)
        for saga in sagas.values():
            by_type[saga.kind].append(saga)
        parents: dict[UUID, Any] = {}
        for name in sorted(by_type):
            parents |= type_of(by_type[name][0]).lock(by_type[name], not self.is_single)
        return parents

    def _holds(self, saga: SagaRow | None) -> bool:
        return saga is not None and saga.lease_token == self.token

    def _is_ours(self, one: LockedSaga) -> bool:
        """Whether this executor may act on it: by the lease, a lease that is over, or a final result."""
        saga = one.saga
        if saga.state not in UNFINISHED:
            self.batch_result.released.append(one.run)
            return False
        if self._holds(saga) and one.run.saga is not None:
            return True
        if saga.leased_until is None or saga.leased_until <= self.now:
            if saga.lease_token:
                self._count_lost_lease(one)
            return True
        if self._holds(saga):
            return True
        if one.result and one.result.event not in RETRYABLE and self._is_recordable(one):
            return True
        self.batch_result.released.append(one.run)
        return False

    def _count_lost_lease(self, one: LockedSaga) -> None:
        """Its last worker recorded nothing: that is an attempt, and whatever it called may have happened."""
        one.is_repeat = True
        if self._is_recordable(one):
            return
        saga, step = one.saga, one.next_step
        self._log_attempt(one, step.name if step else "end", LEASE_LOST)
        is_stuck = self._is_overdue(saga) and not (step and self._can_compensate(one, step))
        Saga.objects.filter(id=saga.id).update(
            attempts=saga.attempts,
            last_error=LEASE_LOST.detail,
            state=self._mark_stuck(one) if is_stuck else saga.state,
        )

    def _is_recordable(self, one: LockedSaga) -> bool:
        """Whether the run's result is still awaited: no final line stands, and the direction is the same."""
        step = one.next_step
        return bool(one.result and step and step.name == one.step and one.saga.direction == one.direction)

    def _record_result(self, one: LockedSaga) -> bool:
        """Record what the run's call came to. Returns whether the saga continues in this batch."""
        if one.failure:
            one.step, one.direction = one.next_step.name if one.next_step else "", one.saga.direction
            one.result, one.failure = one.failure, None
        result, step = one.result, one.next_step
        if result and not step and result.event in RETRYABLE and self.is_single:
            return self._retry_later(one, None, result)
        if not result or not step or not self._is_recordable(one):
            one.result = None
            return True
        one.result = None
        if result.event == Event.REFUSED and not self._can_compensate(one, step):
            # Past the point of no return a refusal counts as a failed attempt.
            result = StepResult(Event.FAILED, f"refused: {result.detail}", reference=result.reference)
        if isinstance(step, OutsideStep) and step.on_result and one.direction == DO:
            step.on_result(one.saga, result)
        if result.event in RETRYABLE and not self._retry_later(one, step, result):
            return False
        if result.event not in RETRYABLE:
            self._add_final_line(one, step, one.direction, result)
        if result.event == Event.REFUSED:
            log.start_compensation(one.saga, result.code, result.detail)
        if self.is_single:
            self._continue_in_next_batch(one)
        return not self.is_single

    def _retry_later(self, one: LockedSaga, step: Step | None, result: StepResult) -> bool:
        """Log the attempt; past the deadline start the compensation, and go on. Whether it goes on.

        What can't be compensated any more and is overdue is stuck: reported to operators, and still retried.
        """
        saga = one.saga
        name = step.name if step else "end"
        self._log_attempt(one, name, result)
        is_overdue = self._is_overdue(saga)
        if is_overdue and step and self._can_compensate(one, step):
            log.start_compensation(saga, *GAVE_UP)
            Saga.objects.filter(id=saga.id).update(attempts=saga.attempts, last_error=result.detail[:255])
            return True
        pause, left = backoff.pause_seconds(saga.attempts), (saga.deadline_at - self.now).total_seconds()
        Saga.objects.filter(id=saga.id).update(
            attempts=saga.attempts,
            last_error=result.detail[:255],
            state=self._mark_stuck(one) if is_overdue else saga.state,
            next_attempt_at=self.now + timedelta(seconds=pause if is_overdue else min(pause, left)),
            leased_until=None,
            lease_token="",
        )
        self.batch_result.released.append(one.run)
        self.batch_result.postponed[saga.kind].append(saga)
        self.batch_result.committed.append(f"{call_name(name, saga.direction)} postponed")
        return False

    def _log_attempt(self, one: LockedSaga, step: str, result: StepResult) -> None:
        one.saga.attempts += 1
        self.lines.append(SagaLogLine(one.saga, step, one.saga.direction, result, attempt=one.saga.attempts))

    def _mark_stuck(self, one: LockedSaga) -> str:
        if one.saga.state != Saga.State.STUCK:
            logger.error(
                "saga is stuck", saga=str(one.saga.id), kind=one.saga.kind, attempts=one.saga.attempts
            )
            one.type.stuck([one.saga])
        return Saga.State.STUCK.value

    def _is_overdue(self, saga: SagaRow) -> bool:
        return self.now >= saga.deadline_at

    def _can_compensate(self, one: LockedSaga, step: Step) -> bool:
        return one.saga.direction == DO and step in one.type.reversible

    def _add_final_line(self, one: LockedSaga, step: Step, direction: str, result: StepResult) -> None:
        """Add the step's final line."""
        one.saga.final[step.name, direction] = result
        if one.saga.open_call == call_name(step.name, direction):
            one.saga.open_call = ""
        self.lines.append(SagaLogLine(one.saga, step.name, direction, result))
        self.batch_result.committed.append(call_name(step.name, direction))

    def _advance(self, locked: Sequence[LockedSaga]) -> None:
        """Do the local step that is next for each, and part them by what comes then.

        Later steps come first: they lock stock and coupons, earlier ones wallets.
        """
        waiting: dict[tuple[str, str], list[LockedSaga]] = defaultdict(list)
        for one in locked:
            step = one.next_step
            if isinstance(step, LocalStep) and one.saga.direction == DO and self._may_start(one, step):
                waiting[one.type.name, step.name].append(one)
            else:
                self._schedule_next(one)
        for (_, name), some in sorted(waiting.items(), key=_step_position, reverse=True):
            self._do(some[0].type.step(name), some)

    def _may_start(self, one: LockedSaga, step: Step) -> bool:
        """Whether the step may be begun: past its deadline a saga that still can be is compensated."""
        if not (self._is_overdue(one.saga) and self._can_compensate(one, step)):
            return True
        if self._is_repeat(one, step):
            return True
        log.start_compensation(one.saga, *TOO_LATE)
        return False

    def _is_repeat(self, one: LockedSaga, step: Step) -> bool:
        """Whether a call of the step may have been made: one was begun, or its worker's lease expired."""
        if not isinstance(step, OutsideStep):
            return False
        saga = one.saga
        if one.is_repeat or saga.open_call == call_name(step.name, saga.direction):
            return True
        # Earlier releases record attempts, and no open call.
        return saga.attempts > 0 and not saga.open_call and log.has_attempts(saga, step.name)

    def _do(self, step: Step, some: Sequence[LockedSaga]) -> None:
        assert isinstance(step, LocalStep)
        outcomes = step.do([one.saga for one in some])
        done = []
        for one, outcome in zip(some, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                one.step, one.direction = step.name, DO
                one.result = StepResult(Event.REFUSED, outcome.detail, code=outcome.code)
                if self._record_result(one):
                    self._schedule_next(one)
            else:
                self._add_final_line(one, step, DO, StepResult(Event.DONE, outcome))
                done.append(one.saga)
                self._schedule_next(one)
        self.batch_result.done.append((step, done))

    def _schedule_next(self, one: LockedSaga) -> None:
        """Schedule the next action: end, outside call, or another batch."""
        if one.saga.direction == UNDO:
            self._schedule_next_undo(one)
            return
        step = one.next_step
        if step is None:
            self.ended.append(one.saga)
            self.batch_result.released.append(one.run)
            self.batch_result.committed.append("ended")
        elif isinstance(step, OutsideStep) and self._may_start(one, step):
            self._call(one, step)
        else:
            self._continue_in_next_batch(one)

    def _schedule_next_undo(self, one: LockedSaga) -> None:
        """The same for a saga that is compensated."""
        if self.direction == DO and not self.is_single:
            self._continue_in_next_batch(one)
            return
        step = self._skip_without_effect(one)
        if step is None or one.type.only_local_from(step):
            self.compensated[one.type.name].append(one)
            self.batch_result.released.append(one.run)
        elif isinstance(step, OutsideStep):
            self._call(one, step)
        else:
            self._undo(step, [one])
            self._continue_in_next_batch(one)

    def _continue_in_next_batch(self, one: LockedSaga) -> None:
        self.leases[one.saga.open_call].append(one.saga)
        self.batch_result.to_continue.append(one.run)

    def _call(self, one: LockedSaga, step: OutsideStep) -> None:
        """Schedule its call if a slot is free. `open_call` is committed before the call is made."""
        is_repeat, direction = self._is_repeat(one, step), one.saga.direction
        slot = slot_of(step, direction, is_repeat=is_repeat)
        if self.free_slots.get(slot, 0) < 1:
            # Recovery takes it up again. It is no new saga any more, which its open call says.
            self.put_off[call_name(step.name, direction)].append(one.saga)
            if self._is_overdue(one.saga) and not self._can_compensate(one, step):
                Saga.objects.filter(id=one.saga.id).update(state=self._mark_stuck(one))
            self.batch_result.released.append(one.run)
            return
        self.free_slots[slot] -= 1
        one.step, one.direction = step.name, direction
        # The lease is kept as it is where a repeated call does no harm: it is renewed in time.
        if step.pool != "event" or not self._holds(one.saga):
            one.saga.open_call = call_name(step.name, direction)
            self.leases[one.saga.open_call].append(one.saga)
        attempt = Attempt(one.saga, is_repeat=is_repeat, is_overdue=self._is_overdue(one.saga))
        self.batch_result.calls[step, direction].append((one.run, attempt))

    def _skip_without_effect(self, one: LockedSaga) -> Step | None:
        """The next step to undo, past outside steps that were refused or skipped.

        A step that never ran gets a void line, which rejects a delayed result of its `do`.
        """
        while isinstance(step := one.next_step, OutsideStep):
            done = one.saga.final.get((step.name, DO))
            if done is None:
                self._add_final_line(one, step, DO, StepResult(Event.VOID))
            if done is None or done.event not in (Event.REFUSED, Event.SKIPPED):
                break
            self._add_final_line(one, step, UNDO, StepResult(Event.SKIPPED))
        return step

    def _end_compensated(self) -> None:
        """Undo what is left, all of it local, and end these sagas: readers never see it half undone."""
        for some in self.compensated.values():
            type, sagas = some[0].type, [one.saga for one in some]
            # In the order in which the steps were done: it is the order of the locks.
            for step in type.reversible:
                if isinstance(step, LocalStep):
                    self._undo(step, some)
            self._write_lines()
            type.compensated(sagas)
            log.end(sagas, Saga.State.COMPENSATED.value, at=self.now)
            self.batch_result.compensated[type.name] += sagas
            self.batch_result.committed += ["ended"] * len(some)

    def _undo(self, step: LocalStep, some: Sequence[LockedSaga]) -> None:
        """Undo a local step where it has taken effect; the others get final lines that skip it."""
        assert step.undo
        left = [one for one in some if (step.name, UNDO) not in one.saga.final]
        applied = [one for one in left if _has_applied(one, step)]
        details = step.undo([one.saga for one in applied]) if applied else []
        for one, detail in zip(applied, details, strict=True):
            self._add_final_line(one, step, UNDO, StepResult(Event.DONE, detail))
        for one in left:
            if (step.name, DO) not in one.saga.final:
                self._add_final_line(one, step, DO, StepResult(Event.VOID))
            if (step.name, UNDO) not in one.saga.final:
                self._add_final_line(one, step, UNDO, StepResult(Event.SKIPPED))


def _has_applied(one: LockedSaga, step: Step) -> bool:
    done = one.saga.final.get((step.name, DO))
    return done is not None and done.event in APPLIED


def _step_position(waiting: tuple[tuple[str, str], Sequence[LockedSaga]]) -> tuple[int, str]:
    (_, name), some = waiting
    type = some[0].type
    return type.steps.index(type.step(name)), type.name
