"""Operators' actions on sagas that don't end by themselves: retry, force the compensation, force a step.

Each is one transaction while no worker holds the saga's lease, and only changes the saga's state: a worker
advances it. A step at another system is forced only while its saga is stuck, as that system says, which is
asked first. Where it can't tell, or can't do it, the step is forced once a second operator approves.
docs/runbook.md explains when to use each action ("When a saga is stuck").
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext, gettext_lazy, gettext_noop

from accounts.operating import approvals, own_account
from foundation import clock, journal
from foundation.approval_models import Approval
from foundation.db import open_transaction, transactions
from foundation.errors import Rejected, Unavailable, invalid_field, required
from foundation.journal import ActorContext
from foundation.lazy_texts import Text, mark
from foundation.values import GivenValues
from orders.models import Saga
from orders.saga import rows as saga_rows
from orders.saga.definitions import (
    DO,
    FORCED_DETAIL,
    LEASE_SECONDS,
    NEVER_RAN,
    NOT_KNOWN,
    UNDO,
    UNFINISHED,
    Event,
    OutsideStep,
    SagaRow,
    StepResult,
    WorkClass,
)
from orders.saga.rows import SagaLogLine

State = Saga.State
LONGEST_REASON = 255
LONGEST_REFERENCE = 96
# Most calls end within a lease.
WAIT_SECONDS = LEASE_SECONDS + 2
PAUSE_SECONDS = 0.1
FORCE = "saga.force"
FORCED = "saga.forced"
NEEDS_OPERATOR = gettext_lazy("stuck or overdue")
REASON_HELP = mark("At most 255 characters. It is recorded with your name; customers don't see it.")
REFERENCE_HELP = mark(
    "The gateway's reference of the charge or refund, if you have it. It is compared with what the "
    "gateway says."
)
CHANGED = mark("The saga has changed meanwhile, and nothing was done: look at it again.")


class StepAnswer(NamedTuple):
    """What the other system, asked for what was `expected`, says of the step at which a saga is stuck."""

    step: str
    direction: str
    expected: Any
    result: StepResult


class Leased(Unavailable):
    """A worker is executing the saga."""


Decide = Callable[[SagaRow], str | Approval]


def retry(*, saga_id: UUID, reason: str, by: ActorContext) -> Saga:
    """Retry the saga at once, with a new deadline, in its current direction.

    Raises `NotFound`, `Invalid`, `Rejected`, `NotAllowed` `own_account`, `Unavailable` if a worker keeps the
    lease, or another system doesn't say what the retry must remember of it.
    """

    def decide(saga: SagaRow) -> str:
        if saga.state not in UNFINISHED:
            text = gettext("The saga has ended: it is %(state)s.") % {"state": State(saga.state).label}
            raise Rejected(text, code="saga_ended")
        if step := saga.next_step:
            saga.change(key_number=saga_rows.count_failed_calls(saga, step.name))
        if note:
            note()
        return saga_rows.RETRIED

    reason = _stripped(reason)
    stuck, at = _stuck_at(saga_id, DO)
    note = None
    if at and at.look_up and at.look_up.note_retry:
        note = at.look_up.note_retry(stuck, at.look_up.expect(stuck))
    return _act_while_unleased(saga_id, decide, reason=reason, by=by)


def force_compensate(*, saga_id: UUID, reason: str, by: ActorContext) -> Saga | Approval:
    """Compensate the saga, if it still can be; one that is compensated already stays so.

    If its compensation is stuck at another system, that one is asked: the saga continues if the step is
    undone there, and waits for an approval, which is returned, if the system can't tell. Raises `NotFound`,
    `Invalid`, `Rejected`, `NotAllowed` `own_account`, `Unavailable`.
    """
    reason = _stripped(reason)
    answer = _ask_other_system(saga_id, UNDO)

    def decide(saga: SagaRow) -> str | Approval:
        if saga.direction == UNDO:
            return _force(saga, answer, reason=reason) if saga.state == State.STUCK else ""
        if not saga.type.reversible or saga.is_irreversible or saga.state not in UNFINISHED:
            text = gettext("This %(saga)s can't be compensated any more; the points are in the wallet.")
            if not saga.type.reversible:
                text = gettext(
                    "This %(saga)s can't be compensated any more; it must complete: retry it, or complete "
                    "its step."
                )
            elif saga.about_id:
                text = gettext("This %(saga)s can't be compensated any more; refund order %(order)s instead.")
            raise Rejected(text % {"saga": saga.kind, "order": saga.about_id}, code="saga_not_reversible")
        # Customers see this, and never the reason. It is stored, so in English.
        saga.start_compensation("forced", gettext_noop("An operator cancelled the payment."))
        return "saga.turned_round"

    return _act_while_unleased(saga_id, decide, reason=reason, by=by)


def force_complete(*, saga_id: UUID, reason: str, by: ActorContext, reference: str = "") -> Saga | Approval:
    """Record the outside step at which the saga is stuck as done.

    The other system is asked, and what it says is recorded; a `reference` that is given has to be its id.
    Where it can't tell, or refuses it, the saga waits for an approval, which is returned. A saga that is done
    stays so. Raises `NotFound`, `Invalid`, `Rejected`, `NotAllowed` `own_account`, `Unavailable`.
    """
    if len(reference) > LONGEST_REFERENCE or not (reference.isascii() and reference.isprintable()):
        text = mark("A reference is 96 printable ASCII characters at most.")
        raise invalid_field("reference", "invalid", text)
    reason = _stripped(reason)
    answer = _ask_other_system(saga_id, DO, reference=reference)

    def decide(saga: SagaRow) -> str | Approval:
        if saga.state == State.DONE:
            return ""
        if saga.direction == UNDO:
            text = gettext("The saga is being compensated: retry it, or force its compensation.")
            if saga.state == State.COMPENSATED:
                text = gettext("The saga is compensated, which is final.")
            raise Rejected(text, code="saga_being_undone")
        return _force(saga, answer, reason=reason, reference=reference)

    return _act_while_unleased(saga_id, decide, reason=reason, by=by)


def next_action(saga: Saga | Approval) -> str:
    """What happens to the saga next, or to what was asked for."""
    if isinstance(saga, Approval):
        return gettext(
            "nothing happens yet. Another member of staff has to approve it (approval %(id)s)."
        ) % {"id": saga.pk}
    if saga.state == State.DONE:
        return gettext("it is complete.")
    if saga.state == State.COMPENSATED:
        return gettext("everything is undone.")
    if saga.direction == UNDO:
        return gettext("it is undone within seconds. Load the page again to see how far it is.")
    return gettext("it goes on within seconds. Load the page again to see how far it is.")


def position(direction: str, step: str) -> str:
    """The step that the saga is at, such as `undo charge_card`."""
    return f"{Saga.Direction(direction).label} {step}"


class OperatorAction(NamedTuple):
    """One of these actions, with what a dialog of the admin and a command's help say about it."""

    act: Callable[..., Saga | Approval]
    title: Text
    description: Text


RETRY = OperatorAction(
    retry,
    mark("Go on at once, with a new deadline"),
    mark(
        "The shop goes on from where it stopped. A stuck refund is made in addition to what was "
        "refunded at the gateway by hand. The gateway is asked first; without its answer nothing is "
        "done."
    ),
)
COMPENSATE = OperatorAction(
    force_compensate,
    mark("Undo all steps"),
    mark(
        "All that was done is undone: stock, points and coupon are free again, and the money goes "
        "back. If the gateway's part is stuck, the gateway is asked; the shop goes on if nothing is "
        "charged there. If the gateway can't tell, another member of staff has to approve it."
    ),
)
COMPLETE = OperatorAction(
    force_complete,
    mark("Record the current step as done"),
    mark(
        "Only for what happened at the gateway: a charge that succeeded, or a refund that was made "
        "there by hand. The gateway is asked, and its answer is recorded. If it can't tell, or refuses "
        "a refund, another member of staff has to approve this. What it has not refunded is then taken "
        "off the refund: give it back another way. If as much was refunded there by hand in place of "
        "this refund, record it here."
    ),
)


def _stripped(reason: str) -> str:
    """The reason as it is recorded, if there is one."""
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        text = mark("Say why, in 255 characters at most: the journal keeps it.")
        raise invalid_field("reason", "required", text)
    return reason.strip()


def _stuck_at(saga_id: UUID, direction: str) -> tuple[SagaRow, OutsideStep | None]:
    """The saga, and the step at another system at which it is stuck in this direction, if it is."""
    open_transaction.assert_outside()
    found = transactions.read(lambda: saga_rows.read_sagas([saga_id])).get(saga_id)
    saga = required(found, mark("There is no saga {saga_id}.", saga_id=saga_id))
    saga.final = saga_rows.final_results([saga_id])[saga_id]
    step = saga.next_step
    is_stuck = saga.state == State.STUCK and saga.direction == direction
    return saga, step if is_stuck and isinstance(step, OutsideStep) else None


def _ask_other_system(saga_id: UUID, direction: str, *, reference: str = "") -> StepAnswer | None:
    """Ask about the step at which the saga is stuck; None if it is not stuck at a step at another system."""
    saga, step = _stuck_at(saga_id, direction)
    if step is None:
        return None
    expected = None
    result = NOT_KNOWN
    if step.look_up:
        expected = step.look_up.expect(saga)
        result = step.look_up.ask(expected, direction)
    if result.event == Event.FORCED and reference not in ("", result.reference):
        text = gettext("The other system's id of it is %(reference)s, not the one that you gave.")
        raise Rejected(text % {"reference": result.reference}, code="reference_differs")
    return StepAnswer(step.name, direction, expected, result)


def _act_while_unleased(saga_id: UUID, decide: Decide, *, reason: str, by: ActorContext) -> Any:
    """Act as soon as no worker has the saga's lease; returns what `_act` returns."""
    deadline = time.monotonic() + WAIT_SECONDS
    act = partial(_act, saga_id, decide, reason=reason)
    with journal.acting(by):
        while True:
            try:
                return transactions.run(act, transactions.ONCE)
            except Leased:
                if time.monotonic() > deadline:
                    raise
            # No notification says when a lease ends.
            time.sleep(PAUSE_SECONDS)


def _act(saga_id: UUID, decide: Decide, *, reason: str, noted: GivenValues | None = None) -> Saga | Approval:
    """Run `decide` with the saga locked and unleased, resume the saga, record the action; returns the saga.

    `decide` returns the journal's name of the action, or nothing if it changed nothing; or the approval that
    it asked for, which is returned. The journal's line has what is `noted` too.
    """
    saga = saga_rows.lock_sagas(saga_rows.read_sagas([saga_id]))[saga_id]
    # The account of the locked order or payment, which the saga benefits.
    own_account.refuse_own(saga.parent and saga.parent.account_id)
    now = clock.now()
    step = saga.next_step
    # With the row locked no worker can take the lease.
    if saga.is_leased(now):
        raise Leased(mark("A worker is executing this saga; try again in a few seconds."), retry_after=5)
    before = {"state": str(saga.state), "direction": saga.direction}
    decided = decide(saga)
    if isinstance(decided, Approval):
        return decided
    if decided:
        if saga.state == State.STUCK:
            saga.type.on_resumed(saga)
        saga.change(
            state=State.RUNNING.value,
            deadline_at=now + timedelta(seconds=settings.PAYMENT_GIVE_UP_SECONDS),
            next_attempt_at=now,
            work_class=saga.type.class_of(WorkClass.AGAIN),
            **saga_rows.UNLEASED,
        )
        saga_rows.save([saga])
        after = {"state": str(saga.state), "direction": saga.direction}
        reference = ""
        if step and decided == FORCED:
            after["step"] = step.name
            reference = saga.final[step.name, saga.direction].reference
        journal.note(
            what=decided,
            subject=f"{saga.kind} {saga.subject_id}",
            order_id=saga.about_id,
            before=before,
            after={**after, **(noted or {})},
            detail=reason,
            reference=reference,
            is_internal=True,
        )
    return Saga.objects.get(id=saga_id)


def _force(
    saga: SagaRow, answer: StepAnswer | None, *, reason: str, reference: str = "", is_approved: bool = False
) -> str | Approval:
    """Record the outside step at which the locked saga is stuck, as the other system answered; if that can't
    tell, once it is approved. Returns the journal's name of it, or the approval that is asked for.
    """
    step = saga.next_step
    if step is None:
        text = gettext("All steps are done and only the saga's end is not recorded: retry the saga.")
        raise Rejected(text, code="step_is_local")
    if not isinstance(step, OutsideStep):
        text = gettext(
            "%(step)s runs in our own database, and forcing it would skip its effect: retry the saga."
        )
        raise Rejected(text % {"step": step.name}, code="step_is_local")
    if saga.state != State.STUCK:
        text = gettext("%(step)s is not stuck: it is still being retried.")
        raise Rejected(text % {"step": step.name}, code="step_not_hanging")
    expected = step.look_up.expect(saga) if step.look_up else None
    if answer is None or answer[:3] != (step.name, saga.direction, expected):
        raise Rejected(CHANGED, code="saga_changed")
    result = answer.result
    if result.event != Event.FORCED:
        if not is_approved:
            return _ask_for_approval(saga, step, reason=reason, reference=reference)
        reference = reference or result.reference
        result = replace(result, event=Event.FORCED, detail=FORCED_DETAIL, reference=reference)
    lines = [SagaLogLine(saga, step.name, saga.direction, result)]
    if saga.direction == UNDO and (step.name, DO) not in saga.final:
        lines.insert(0, SagaLogLine(saga, step.name, DO, NEVER_RAN))
    saga_rows.write_lines(lines, at=clock.now())
    saga.final |= {(line.step, line.direction): line.result for line in lines}
    if saga.direction == DO:
        if step.on_result:
            step.on_result(saga, result)
        if step not in saga.type.reversible:
            saga.change(is_irreversible=True)
    return FORCED


def _ask_for_approval(saga: SagaRow, step: OutsideStep, *, reason: str, reference: str) -> Approval:
    """The approval that waits for a second operator already, or is asked for now."""
    subject = f"{saga.kind} {saga.subject_id}"
    asked = {"saga": str(saga.id), "step": step.name, "direction": saga.direction, "reference": reference}
    account_id = saga.parent and saga.parent.account_id
    # The saga's lock keeps those who ask at once apart.
    return approvals.waiting(kind=FORCE, subject=subject, arguments=asked) or approvals.ask(
        kind=FORCE, subject=subject, arguments=asked, reason=reason, account_id=account_id
    )


def _prepare_approved(approval: Approval) -> Callable[[], str]:
    """Ask the other system once more: if it can tell by now, what it says is recorded, or refuses the act."""
    asked = approval.arguments
    reason = approval.reason
    saga_id = UUID(asked["saga"])
    reference = asked["reference"]
    answer = _ask_other_system(saga_id, asked["direction"], reference=reference)
    if answer and answer.step != asked["step"]:
        raise Rejected(CHANGED, code="saga_changed")
    decide = partial(_force, answer=answer, reason=reason, reference=reference, is_approved=True)

    def do() -> str:
        _act(saga_id, decide, reason=reason, noted=approvals.persons(approval))
        return f"{asked['direction']} {asked['step']} is recorded"

    return do


def _describe(approval: Approval) -> approvals.Facts:
    asked = approval.arguments
    return [
        (gettext("Saga"), f"{approval.subject.split()[0]} {asked['saga']}"),
        (gettext("Step"), position(asked["direction"], asked["step"])),
        (gettext("Reference"), asked["reference"] or "-"),
    ]


approvals.ACTS[FORCE] = approvals.Act(
    title=mark("Record a step of a stuck saga"),
    permission="orders.change_saga",
    prepare=_prepare_approved,
    describe=_describe,
)
