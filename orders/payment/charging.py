"""The saga step that charges the card; its compensation cancels or refunds the charge. All calls are keyed.

Without a reply the payment is in doubt: a time-out is never taken for a failure. A charge that may have been
made before is looked up first, because gateways forget keys after a day. A charge may wait for the card's
owner (3-D Secure): the saga rests then, at most `PAYMENT_ACTION_SECONDS`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_noop

from foundation import clock
from foundation.db import open_transaction
from foundation.rates import rate_limits
from foundation.redis import completion_notifications
from inventory.availability import Line
from orders import limits
from orders.limits import Counts, Payer
from orders.models import Saga
from orders.payment import gateway_facts, rows as declined_rows
from orders.saga import rows as saga_rows
from orders.saga.definitions import (
    ACTION_EXPIRED,
    APPLIED,
    DO,
    GAVE_UP,
    UNDO,
    Call,
    Event,
    LookUp,
    OutsideStep,
    RequiredAction,
    SagaRow,
    Sagas,
    StepResult,
)
from orders.saga.rows import SagaLogLine
from payments import gateways, metrics, rows as payment_rows
from payments.gateways.contract import GatewayResult
from payments.models import Payment
from payments.transitions import Status

NAME = "charge_card"
CHARGE_CANCELLED = "charge_cancelled"
NOT_CHARGED = {
    "declined": gettext_noop("The card was declined."),
    "cancelled": gettext_noop("The card was cancelled."),
}
CHARGED = gettext_noop("charged")
CHARGE_REFUNDED = (
    "charge_refunded",
    gettext_noop("The charge was refunded or disputed at the gateway before the payment was settled."),
)
NOT_STARTED = StepResult(Event.FAILED, gettext_noop("Nothing was charged until the deadline."))


class StartedPayment(NamedTuple):
    """A payment, the saga that executes it, and the saga's first log lines; its order's lines, if these are
    in memory.
    """

    payment: Payment
    saga: Saga
    log: list[SagaLogLine]
    lines: Sequence[Line] = ()


def check_card_limits(counts: Counts, payer: Payer | None) -> None:
    """Raise `Throttled` if one more card of the payer's key, or account, could exceed the rate."""
    if payer is None:
        return
    rates = declined_rows.card_rates()
    reached = limits.reached_card_limit(counts, payer, {name: rate.times for name, rate in rates.items()})
    if reached:
        name, id = reached
        rate = rates[name]
        start = clock.now() - timedelta(seconds=rate.seconds)
        first_at = declined_rows.first_declined_at(name, id, since=start)
        raise rate_limits.refusal(name, rate, seconds=(first_at - start).total_seconds())


def charge(sagas: Sagas) -> list[Call]:
    """The calls that charge the cards or look up earlier attempts."""
    payments = _payments(sagas)
    return [partial(_charge_once, payments[saga.subject_id], saga) for saga in sagas]


def cancel_or_refund(sagas: Sagas) -> list[Call]:
    """The calls that undo charges: cancel by key what is unknown, refund what succeeded."""
    payments = _payments(sagas)
    calls = list[Call]()
    for saga in sagas:
        payment = payments[saga.subject_id]
        key = saga_rows.unused_key(saga, f"{payment.charge_key}:refund")
        calls.append(partial(_cancel_or_refund, payment, charge_reference(saga), key))
    return calls


def note_result(saga: SagaRow, result: StepResult) -> None:
    """Record on the payment what the API shows of a charge without a final result."""
    if result.action:
        payment_rows.require_action(
            saga.subject_id, url=result.action.url, expires_at=result.action.expires_at
        )
    elif result.event == Event.PENDING:
        payment_rows.end_action(saga.subject_id)
    elif result.event == Event.FAILED:
        # One that waits for the card's owner goes on doing so.
        with_owner = Payment.objects.filter(payment_rows.with_action(), id=saga.subject_id)
        if not with_owner.exists():
            payment_rows.mark_in_doubt(saga.subject_id)


def mark_stuck(saga: SagaRow) -> None:
    """Mark the payment of a stuck saga as in doubt: the outcome of its charge is unknown."""
    payment_rows.mark_in_doubt(saga.subject_id)


def charge_reference(saga: SagaRow) -> str:
    """The gateway's id of the charge that succeeded; empty without one."""
    charged = saga.final.get((NAME, DO))
    return charged.reference if charged and charged.event in APPLIED else ""


def mark_paid(sagas: Sagas, *, at: datetime) -> None:
    references = {saga.subject_id: charge_reference(saga) for saga in sagas}
    if payment_rows.mark_succeeded(references, at=at) != len(sagas):
        raise RuntimeError("A payment that has ended can't become succeeded.")
    _count(sagas, ["succeeded"] * len(sagas))


def mark_ended(sagas: Sagas) -> None:
    """End the payments of compensated sagas: reversed if they were charged, else failed, perhaps declined."""
    now = clock.now()
    outcomes = []
    for saga in sagas:
        # The refund of a charge of unknown outcome shows that it was made.
        undone = saga.final.get((NAME, UNDO))
        was_charged = bool(charge_reference(saga) or (undone and gateway_facts.is_refunded(undone)))
        payment_rows.end_unpaid(
            saga.subject_id,
            to=Status.REVERSED if was_charged else Status.FAILED,
            code=saga.failure_code,
            detail=saga.failure_detail,
            at=now,
            declined_at=now if is_declined(saga) else None,
        )
        # Cancelled is one whose charge was refunded, or got no answer in time.
        is_cancelled = was_charged or saga.failure_code in (GAVE_UP, ACTION_EXPIRED)
        not_declined = "cancelled" if is_cancelled else "failed"
        outcomes.append("declined" if is_declined(saga) else not_declined)
    _count(sagas, outcomes)


def is_declined(saga: SagaRow) -> bool:
    """Whether the gateway has refused the card, so that this payment can't succeed any more."""
    charged = saga.final.get((NAME, DO))
    return charged is not None and charged.event == Event.REFUSED


def _count(sagas: Sagas, outcomes: Sequence[str]) -> None:
    by_card = [saga.subject_id for saga in sagas if saga.parent.card_amount]
    gateway_of = dict.fromkeys(by_card, settings.PAYMENT_GATEWAY)
    if len(gateways.usable()) > 1:
        gateway_of = payment_rows.read_gateways(by_card)
    names = [
        gateway_of.get(saga.subject_id, metrics.WITHOUT_CARD) or settings.PAYMENT_GATEWAY for saga in sagas
    ]
    open_transaction.count_after_commit(metrics.count_payments, zip(names, outcomes, strict=True))


def notify(sagas: Sagas) -> None:
    """Wake the requests that wait for these orders or payments: they settled, or their owner must act."""
    ids = [id for saga in sagas for id in (saga.about_id, saga.subject_id) if id]
    completion_notifications.notify_completed(*map(str, ids))


STEP = OutsideStep(
    name=NAME,
    do=charge,
    undo=cancel_or_refund,
    on_result=note_result,
    look_up=LookUp(gateway_facts.read_charge, gateway_facts.ask_about_charge),
)


def _payments(sagas: Sagas) -> dict[UUID, Payment]:
    begun: dict[UUID, Payment] = {saga.subject_id: saga.begun.payment for saga in sagas if saga.begun}
    return begun | payment_rows.read_payments([saga.subject_id for saga in sagas if not saga.begun])


def _charge_once(payment: Payment, saga: SagaRow) -> StepResult:
    if saga.is_repeat:
        found = gateways.of(payment.books).find(key=payment.charge_key)
        if found.status == "unknown" and saga.state == Saga.State.STUCK:
            # It may be stuck because of what an earlier look-up has shown.
            return replace(_to_step_result(found, payment), needs_operator=True)
        if found.status != "absent":
            return _to_step_result(found, payment)
    if saga.is_overdue:
        return NOT_STARTED
    charged = gateways.of(payment.books).charge(
        key=payment.charge_key,
        token=payment.token,
        amount=payment.card_amount,
        currency=payment.currency,
        order_id=payment.order_id,
    )
    return _to_step_result(charged, payment)


def _cancel_or_refund(payment: Payment, reference: str, refund_key: str) -> StepResult:
    if not reference:
        cancelled = _cancel_charge(payment)
        if cancelled.status in ("cancelled", "declined", "absent"):
            return StepResult(Event.DONE, gateway_facts.NOT_CHARGED, reference=cancelled.reference, amount=0)
        if cancelled.status != "succeeded":
            undecided = gateway_facts.judge_undecided(cancelled, "cancel: ")
            # A failure is without its reference: no refund has failed, whose key could not be used again.
            return undecided if undecided.event == Event.PENDING else replace(undecided, reference="")
        reference = cancelled.reference
    refunded = gateways.refund_rest(
        payment.books,
        key=refund_key,
        charge_key=payment.charge_key,
        charge_reference=reference,
        amount=payment.card_amount,
    )
    return gateway_facts.judge_refund(
        refunded, amount=payment.card_amount, detail=gateway_facts.REFUNDED, call="refund: "
    )


def _cancel_charge(payment: Payment) -> GatewayResult:
    """Cancel the charge; a gateway that can't is asked whether it has ended: `absent` may still arrive."""
    gateway = gateways.of(payment.books)
    key = payment.charge_key
    cancelled = gateway.cancel(key=key)
    if cancelled.status != "unsupported":
        return cancelled
    found = gateway.find(key=key)
    if found.status in ("succeeded", "declined", "cancelled"):
        return found
    return GatewayResult(status="unsupported", failure_detail=f"by this gateway, where it is {found.status}")


def _required_action(url: str, payment: Payment) -> RequiredAction:
    """The owner's action: it ends when it was first said to, however often the charge is looked up."""
    if payment.action_expires_at:
        return RequiredAction(url, payment.action_expires_at)
    now = clock.now()
    return RequiredAction(
        url,
        expires_at=now + timedelta(seconds=settings.PAYMENT_ACTION_SECONDS),
        deadline_at=now + timedelta(seconds=settings.PAYMENT_GIVE_UP_SECONDS),
    )


def _judged(result: GatewayResult, payment: Payment) -> StepResult:
    """A charge that succeeded pays the order if it is the payment's, and all of it is kept; while a dispute
    of it is open, an operator decides.
    """
    if not payment.expected_charge.is_met_by(result):
        charged = f"{result.amount} {result.currency}"
        detail = f"The gateway has a charge of {charged} under this key; nothing is booked."
    elif result.is_undecided:
        # It could not be undone either.
        detail = "The charge is disputed at the gateway, which has not decided yet."
    else:
        code, detail = ("", CHARGED) if result.kept_amount == payment.card_amount else CHARGE_REFUNDED
        return StepResult(Event.DONE, detail, code=code, reference=result.reference)
    return StepResult(Event.FAILED, detail, reference=result.reference, needs_operator=True)


def _to_step_result(result: GatewayResult, payment: Payment) -> StepResult:
    match result.status:
        case "requires_action":
            return StepResult(
                Event.REQUIRES_ACTION,
                gettext_noop("The card's owner must confirm the payment."),
                reference=result.reference,
                action=_required_action(result.action_url, payment),
            )
        case "succeeded":
            return _judged(result, payment)
        case "declined" | "cancelled":
            return StepResult(
                Event.REFUSED,
                result.failure_detail or NOT_CHARGED[result.status],
                code=result.failure_code or f"charge_{result.status}",
                reference=result.reference,
            )
        case _:
            return gateway_facts.judge_undecided(result)
