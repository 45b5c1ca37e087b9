"""What operators do about sagas that don't end by themselves: retry, force the compensation, force a step.

Each of these is one transaction between two drivers, never beside one, and the journal says who did it, when
and why. It only decides: the engine does the rest, as soon as a worker looks at the saga.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from orders import charging, kinds, saga_log, steps
from orders.models import Saga, SagaLog
from orders.saga_log import DO, UNDO, Event, Heard
from orders.steps import LEASE_SECONDS, UNFINISHED, Kind, Outside, Step
from shop import journal, transactions
from shop.errors import NotFound, Rejected, Unavailable, invalid_field
from shop.journal import Who

LONGEST_REASON, LONGEST_REFERENCE = 255, 96
# What customers are told of it; the reason is the operators' own.
TOLD = "An operator answers for it."
TURNED_ROUND = "An operator had the payment undone."
# A driver that is alive lets go, or shows another sign of life, within a lease.
WAIT_SECONDS = LEASE_SECONDS + 2
PAUSE_SECONDS = 0.1

Lines = dict[tuple[str, str], Heard]
Decide = Callable[[Saga, Kind, Lines], str]


def retry(*, saga_id: UUID, reason: str, by: Who) -> Saga:
    """Have the saga tried again at once, with a new deadline; what direction it goes in stays as it is.

    Raises `NotFound`, `Invalid`, `Rejected` `saga_ended`, `Unavailable` while a driver is at it for long.
    """

    def decide(saga: Saga, kind: Kind, lines: Lines) -> str:
        if saga.state not in UNFINISHED:
            raise Rejected(f"The saga has ended: it is {saga.state}.", code="saga_ended")
        return "saga.retried"

    return _between_drivers(saga_id, decide, reason=reason, by=by)


def force_compensate(*, saga_id: UUID, reason: str, by: Who) -> Saga:
    """Have the saga undone, while it still can be; one that is undone already stays so.

    Where it is being undone and is stuck at another system, the operator answers for that: it was dealt with
    there by hand, and the saga goes on. While it is being undone without trouble nothing changes. Raises
    `NotFound`, `Invalid`, `Rejected` `saga_not_reversible` or `step_is_local`, `Unavailable`.
    """

    def decide(saga: Saga, kind: Kind, lines: Lines) -> str:
        if saga.state == Saga.State.COMPENSATED:
            return ""
        if saga.direction == DO:
            _assert_reversible(saga, kind, lines)
            saga_log.turn_round(saga, "forced", TURNED_ROUND)
            return "saga.turned_round"
        if saga.state != Saga.State.STUCK:
            return ""
        _answer_for(saga, kind.next_step(UNDO, _final(lines, UNDO)), UNDO, lines)
        return "saga.forced"

    return _between_drivers(saga_id, decide, reason=reason, by=by)


def force_complete(*, saga_id: UUID, reason: str, by: Who, reference: str = "") -> Saga:
    """Take the step that the saga hangs at as done: the operator saw, or saw to it, that it is.

    Only for steps at another system; `reference` is that system's name for it, and a charge needs one. A
    saga that is done stays so. Raises `NotFound`, `Invalid`, `Rejected` `saga_being_undone`,
    `step_is_local` or `step_not_hanging`, `Unavailable`.
    """
    if len(reference) > LONGEST_REFERENCE or not (reference.isascii() and reference.isprintable()):
        raise invalid_field("reference", "invalid", "A reference is 96 printable ASCII characters at most.")

    def decide(saga: Saga, kind: Kind, lines: Lines) -> str:
        if saga.state == Saga.State.DONE:
            return ""
        if saga.direction == UNDO:
            raise Rejected(_why_not_forward(saga), code="saga_being_undone")
        step = kind.next_step(DO, _final(lines, DO))
        _assert_hanging(saga, kind, step)
        if step and step.name == charging.NAME and not reference:
            raise invalid_field("reference", "required", "Give the gateway's own id of the charge you saw.")
        _answer_for(saga, step, DO, lines, reference=reference)
        return "saga.forced"

    return _between_drivers(saga_id, decide, reason=reason, by=by)


def _between_drivers(saga_id: UUID, decide: Decide, *, reason: str, by: Who) -> Saga:
    """Decide with the saga locked and no driver at it, set it going, and note it; return it as it is then.

    `decide` returns the journal's word for what it did, or nothing where all stays as it is.
    """
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise invalid_field("reason", "required", "Say why, in 255 characters at most: it is kept.")
    if not Saga.objects.filter(id=saga_id).exists():
        raise NotFound(f"There is no saga {saga_id}.")

    def work() -> Saga | None:
        saga, lines = steps.locked(saga_id, None)
        # With the row locked nobody can take a lease; one that is over is nobody's any more.
        if saga.leased_until and saga.leased_until > timezone.now():
            return None
        what = decide(saga, kinds.of(saga), lines)
        if what:
            _set_going(saga)
            _note(saga, what, reason.strip())
        return Saga.objects.get(id=saga_id)

    deadline = time.monotonic() + WAIT_SECONDS
    with journal.acting(by):
        while (decided := transactions.run(work)) is None:
            if time.monotonic() > deadline:
                raise Unavailable("A worker is at this saga; try again in some seconds.", retry_after=5)
            # A driver tells nobody when it lets go.
            time.sleep(PAUSE_SECONDS)
    return decided


def _set_going(saga: Saga) -> None:
    """Due at once, with a new deadline; a driver whose lease is over can't come back by its old token."""
    now, resumed = timezone.now(), kinds.of(saga).resumed
    Saga.objects.filter(id=saga.id, state__in=UNFINISHED).update(
        state=Saga.State.RUNNING,
        deadline_at=now + timedelta(seconds=settings.PAYMENT_GIVE_UP_SECONDS),
        next_attempt_at=now,
        leased_until=None,
        lease_token="",
    )
    if saga.state == Saga.State.STUCK and resumed:
        resumed(saga)


def _answer_for(saga: Saga, step: Step | None, direction: str, lines: Lines, *, reference: str = "") -> None:
    """Write the final line of a step that an operator answers for."""
    if not isinstance(step, Outside):
        raise Rejected(_why_not_local(step), code="step_is_local")
    if direction == UNDO and (step.name, DO) not in lines:
        saga_log.write(saga, step.name, DO, Heard(Event.VOID))
    saga_log.write(saga, step.name, direction, Heard(Event.FORCED, TOLD, reference=reference))


def _assert_reversible(saga: Saga, kind: Kind, lines: Lines) -> None:
    """Raise `Rejected`, with what to do instead, past the point of no return."""
    reversible = [step.name for step in kind.reversible]
    is_settled = any(direction == DO and step not in reversible for step, direction in lines)
    if reversible and not is_settled and saga.state in UNFINISHED:
        return
    if not reversible:
        instead = "what is promised is kept: retry it, or complete it"
    elif saga.about_id:
        instead = f"refund order {saga.about_id} instead"
    else:
        instead = "the points are in the wallet"
    raise Rejected(f"This {saga.kind} can't be undone any more; {instead}.", code="saga_not_reversible")


def _assert_hanging(saga: Saga, kind: Kind, step: Step | None) -> None:
    """Raise `Rejected` unless the step was tried in vain: past the point of no return, until it was stuck."""
    if not isinstance(step, Outside):
        raise Rejected(_why_not_local(step), code="step_is_local")
    tried = SagaLog.objects.filter(saga_id=saga.id, step=step.name, direction=DO, attempt__gt=0)
    if saga.state == Saga.State.STUCK or (step in kind.reversible and tried.exists()):
        return
    raise Rejected(f"{step.name} is still being tried: it isn't stuck.", code="step_not_hanging")


def _why_not_local(step: Step | None) -> str:
    if step is None:
        return "All steps are done, only the end is not written: retry the saga."
    return f"{step.name} is ours to do, and forced its effect would be missing: retry the saga."


def _why_not_forward(saga: Saga) -> str:
    if saga.state == Saga.State.COMPENSATED:
        return "The saga is undone, and stays so."
    return "The saga is being undone: retry it, or force its compensation."


def _final(lines: Lines, direction: str) -> set[str]:
    return {step for step, way in lines if way == direction}


def _note(before: Saga, what: str, reason: str) -> None:
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
