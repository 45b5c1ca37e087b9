"""Operators' actions on sagas that don't end by themselves: retry, force the compensation, force a step.

Each action is one transaction while no worker holds the saga's lease; the journal records the operator, the
time and the reason. An action only changes the saga's state; a worker then leases and advances it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from django.conf import settings

from orders.models import Saga, SagaLog
from orders.saga import log, operator_texts
from orders.saga.definitions import (
    DO,
    LEASE_SECONDS,
    UNDO,
    UNFINISHED,
    Event,
    FinalResults,
    OutsideStep,
    SagaRow,
    SagaType,
    Step,
    StepResult,
    call_name,
    type_of,
)
from orders.saga.log import SagaLogLine
from shop import clock
from shop.db import transactions
from shop.errors import NotFound, Rejected, Unavailable, invalid_field
from shop.events import journal
from shop.events.journal import ActorContext
from shop.lazy_texts import mark as _

LONGEST_REASON, LONGEST_REFERENCE = 255, 96
# Most calls end within a lease.
WAIT_SECONDS = LEASE_SECONDS + 2
PAUSE_SECONDS = 0.1

Decide = Callable[[SagaRow, SagaType, FinalResults], str]


def retry(*, saga_id: UUID, reason: str, by: ActorContext) -> Saga:
    """Retry the saga at once, with a new deadline, in its current direction.

    Raises `NotFound`, `Invalid`, `Rejected` `saga_ended`, `Unavailable` if a worker keeps the lease.
    """

    def decide(saga: SagaRow, type: SagaType, final: FinalResults) -> str:
        if saga.state not in UNFINISHED:
            raise Rejected(operator_texts.already_ended(saga.state), code="saga_ended")
        return "saga.retried"

    return _act_while_unleased(saga_id, decide, reason=reason, by=by)


def force_compensate(*, saga_id: UUID, reason: str, by: ActorContext) -> Saga:
    """Compensate the saga, if it still can be; one that is compensated already stays so.

    If its compensation is stuck at another system, the operator confirms that it was dealt with there, and
    the saga continues. A compensation that is not stuck stays as it is. Raises `NotFound`, `Invalid`,
    `Rejected` `saga_not_reversible` or `step_is_local`, `Unavailable`.
    """

    def decide(saga: SagaRow, type: SagaType, final: FinalResults) -> str:
        if saga.state == Saga.State.COMPENSATED:
            return ""
        if saga.direction == DO:
            _assert_reversible(saga, type)
            log.start_compensation(saga, "forced", operator_texts.COMPENSATED_DETAIL)
            return "saga.turned_round"
        if saga.state != Saga.State.STUCK:
            return ""
        _force_step(saga, _next_step(saga, final), UNDO, final)
        return "saga.forced"

    return _act_while_unleased(saga_id, decide, reason=reason, by=by)


def force_complete(*, saga_id: UUID, reason: str, by: ActorContext, reference: str = "") -> Saga:
    """Record the current outside step as done: the operator verified it at the other system.

    Only for steps at another system; `reference` is that system's id of it, and a charge needs one. A
    saga that is done stays so. Raises `NotFound`, `Invalid`, `Rejected` `saga_being_undone`,
    `step_is_local` or `step_not_hanging`, `Unavailable`.
    """
    if len(reference) > LONGEST_REFERENCE or not (reference.isascii() and reference.isprintable()):
        raise invalid_field("reference", "invalid", str(operator_texts.REFERENCE_INVALID))

    def decide(saga: SagaRow, type: SagaType, final: FinalResults) -> str:
        if saga.state == Saga.State.DONE:
            return ""
        if saga.direction == UNDO:
            raise Rejected(operator_texts.not_completable(saga.state), code="saga_being_undone")
        step = _next_step(saga, final)
        _assert_attempted_or_stuck(saga, type, step)
        if isinstance(step, OutsideStep) and step.reference_required and not reference:
            raise invalid_field("reference", "required", step.reference_required)
        _force_step(saga, step, DO, final, reference=reference)
        return "saga.forced"

    return _act_while_unleased(saga_id, decide, reason=reason, by=by)


def _act_while_unleased(saga_id: UUID, decide: Decide, *, reason: str, by: ActorContext) -> Saga:
    """Run `decide` with the saga locked and unleased, resume the saga, record the action; returns the saga.

    `decide` returns the journal's name of the action, or nothing if it changed nothing.
    """
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise invalid_field("reason", "required", str(operator_texts.REASON_REQUIRED))
    if not Saga.objects.filter(id=saga_id).exists():
        raise NotFound(_("There is no saga {saga_id}.", saga_id=saga_id))

    def work() -> Saga | None:
        saga = _lock_saga(saga_id)
        # With the row locked no worker can take the lease.
        if saga.leased_until and saga.leased_until > clock.now():
            return None
        before = replace(saga)
        what = decide(saga, type_of(saga), log.final_results([saga_id])[saga_id])
        if what:
            _resume(saga)
            _note_action(before, what, reason.strip())
        return Saga.objects.get(id=saga_id)

    deadline = time.monotonic() + WAIT_SECONDS
    with journal.acting(by):
        while (decided := transactions.run(work, transactions.ONCE)) is None:
            if time.monotonic() > deadline:
                raise Unavailable(str(operator_texts.LEASED), retry_after=5)
            # No notification says when a lease ends.
            time.sleep(PAUSE_SECONDS)
    return decided


def _lock_saga(saga_id: UUID) -> SagaRow:
    saga = log.read_sagas([saga_id])[saga_id]
    type_of(saga).lock([saga], False)
    return log.read_sagas([saga_id], is_locked=True)[saga_id]


def _resume(saga: SagaRow) -> None:
    """Make the saga due at once, with a new deadline; a worker with a lapsed lease loses its token.

    The call that such a worker may have made is kept as the open call, which is looked up first.
    """
    now = clock.now()
    Saga.objects.filter(id=saga.id, state__in=UNFINISHED).update(
        state=Saga.State.RUNNING,
        deadline_at=now + timedelta(seconds=settings.PAYMENT_GIVE_UP_SECONDS),
        next_attempt_at=now,
        leased_until=None,
        lease_token="",
        open_call=_open_call(saga),
    )
    if saga.state == Saga.State.STUCK:
        type_of(saga).on_resumed([saga])


def _open_call(saga: SagaRow) -> str:
    step = _next_step(saga, log.final_results([saga.id])[saga.id])
    was_leased = saga.lease_token and isinstance(step, OutsideStep)
    return call_name(step.name, saga.direction) if step and was_leased else saga.open_call


def _force_step(
    saga: SagaRow, step: Step | None, direction: str, final: FinalResults, *, reference: str = ""
) -> None:
    """Write the final line of a step that an operator confirms."""
    if not isinstance(step, OutsideStep):
        raise Rejected(operator_texts.not_forceable(step), code="step_is_local")
    result = StepResult(Event.FORCED, operator_texts.FORCED_DETAIL, reference=reference)
    lines = [SagaLogLine(saga, step.name, direction, result)]
    if direction == UNDO and (step.name, DO) not in final:
        lines.insert(0, SagaLogLine(saga, step.name, DO, StepResult(Event.VOID)))
    log.write_lines(lines, at=clock.now())
    if direction == DO and step not in type_of(saga).reversible:
        log.mark_irreversible([saga])


def _assert_reversible(saga: SagaRow, type: SagaType) -> None:
    """Raise `Rejected`, with what to do instead, if the saga is past its point of no return."""
    if type.reversible and not saga.is_irreversible and saga.state in UNFINISHED:
        return
    reason = operator_texts.not_reversible(
        saga.kind, is_retried_only=not type.reversible, order_id=saga.about_id
    )
    raise Rejected(reason, code="saga_not_reversible")


def _assert_attempted_or_stuck(saga: SagaRow, type: SagaType, step: Step | None) -> None:
    """Raise `Rejected` unless the step was attempted or, past the point of no return, the saga is stuck."""
    if not isinstance(step, OutsideStep):
        raise Rejected(operator_texts.not_forceable(step), code="step_is_local")
    tried = SagaLog.objects.filter(saga_id=saga.id, step=step.name, direction=DO, attempt__gt=0)
    if saga.state == Saga.State.STUCK or (step in type.reversible and tried.exists()):
        return
    raise Rejected(operator_texts.not_stuck(step), code="step_not_hanging")


def _next_step(saga: SagaRow, final: FinalResults) -> Step | None:
    done = {step for step, way in final if way == saga.direction}
    return type_of(saga).next_step(saga.direction, done, is_irreversible=saga.is_irreversible)


def _note_action(before: SagaRow, what: str, reason: str) -> None:
    after = Saga.objects.get(id=before.id)
    journal.note(
        what=what,
        subject=f"{before.kind} {before.subject_id}",
        order_id=before.about_id,
        before={"state": before.state, "direction": before.direction},
        after={"state": after.state, "direction": after.direction},
        detail=reason,
        is_internal=True,
    )
