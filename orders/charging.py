"""The saga step that calls the gateway: charge, and on the way back cancel or refund; all keyed.

No answer is no verdict: the payment is in doubt, and the gateway is asked by the same key until it
tells. (Kill Bill's UNKNOWN and its janitor: a time-out is never taken for a failure.)
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.utils import timezone

from orders.models import Saga, SagaLog
from orders.saga_log import DO, IN_EFFECT, UNDO, Event, Heard
from orders.steps import Call, Outside
from payments import paying
from payments.gateways import gateway
from payments.gateways.contract import Verdict
from payments.models import Payment

NAME = "charge_card"
REFUNDED = "refunded"


def charge(saga: Saga) -> Heard:
    """Charge the card, or learn what became of the earlier attempt."""
    payment = Payment.objects.get(id=saga.subject_id)
    if SagaLog.objects.filter(saga_id=saga.id, step=NAME, direction=DO, attempt__gt=0).exists():
        found = gateway().find(key=payment.charge_key)
        if found.status != "absent":
            return _heard(found)
    return _charge(payment)


def calls(sagas: Sequence[Saga]) -> list[Call]:
    """The charges of payments that were not tried in vain before: a call each, made without the database."""
    payments = Payment.objects.in_bulk([saga.subject_id for saga in sagas])
    return [Call([saga], partial(_charge_alone, payments[saga.subject_id])) for saga in sagas]


def note(saga: Saga, heard: Heard) -> None:
    """Without an answer the payment is in doubt, for everybody to see."""
    if heard.event == Event.FAILED:
        paying.mark_in_doubt(saga.subject_id)


def give_back(saga: Saga) -> Heard:
    """See to it that nothing is charged: cancel by key what is unknown, refund what is charged."""
    payment = Payment.objects.get(id=saga.subject_id)
    reference = charge_reference(saga)
    if not reference:
        cancelled = _call_off(payment.charge_key)
        if cancelled.status in ("cancelled", "declined", "absent"):
            return Heard(Event.DONE, "nothing was charged", reference=cancelled.reference)
        if cancelled.status != "succeeded":
            return Heard(Event.FAILED, f"cancel: {cancelled.status} {cancelled.failure_detail}")
        reference = cancelled.reference
    refunded = gateway().refund(
        key=f"{payment.charge_key}:refund", charge_reference=reference, amount=payment.card_amount
    )
    if refunded.status != "succeeded":
        detail = f"refund: {refunded.status} {refunded.failure_detail}"
        return Heard(Event.FAILED, detail, reference=reference)
    return Heard(Event.DONE, REFUNDED, reference=refunded.reference)


def mark_stuck(saga: Saga) -> None:
    """Late, and nobody can tell what became of the charge: in doubt, were it only pending before."""
    paying.mark_in_doubt(saga.subject_id)


def charge_reference(saga: Saga) -> str:
    """The gateway's id of the charge that succeeded, or nothing."""
    return charge_references([saga])[saga.id]


def charge_references(sagas: Sequence[Saga]) -> dict[UUID, str]:
    """The same for many, by saga."""
    lines = SagaLog.objects.filter(
        saga_id__in=[saga.id for saga in sagas], step=NAME, direction=DO, attempt=0, event__in=IN_EFFECT
    )
    found = dict(lines.values_list("saga_id", "reference"))
    return {saga.id: found.get(saga.id, "") for saga in sagas}


def mark_ended(saga: Saga) -> None:
    """Write down, in the transaction that ends an undone saga, what became of its payment."""
    end = paying.mark_reversed if _was_charged(saga) else paying.mark_failed
    end(saga.subject_id, code=saga.failure_code, detail=saga.failure_detail, at=timezone.now())


def _was_charged(saga: Saga) -> bool:
    """Whether the charge succeeded, be it that nobody heard of it before it was given back."""
    undone = SagaLog.objects.filter(saga_id=saga.id, step=NAME, direction=UNDO, attempt=0)
    return bool(charge_reference(saga)) or undone.filter(detail=REFUNDED).exists()


STEP = Outside(name=NAME, do=charge, undo=give_back, note=note, calls=calls)


def _charge(payment: Payment) -> Heard:
    return _heard(
        gateway().charge(
            key=payment.charge_key,
            token=payment.token,
            amount=payment.card_amount,
            currency=payment.currency,
            order_id=payment.order_id,
        )
    )


def _charge_alone(payment: Payment) -> list[Heard]:
    return [_charge(payment)]


def _call_off(key: str) -> Verdict:
    """Have the charge cancelled; where the gateway can't do that, ask whether it has ended by itself.

    That there is nothing, so far, is then no end: it may still come.
    """
    cancelled = gateway().cancel(key=key)
    if cancelled.status != "unsupported":
        return cancelled
    found = gateway().find(key=key)
    if found.status in ("succeeded", "declined", "cancelled"):
        return found
    return Verdict(status="unsupported", failure_detail=f"by this gateway, where it is {found.status}")


def _heard(verdict: Verdict) -> Heard:
    match verdict.status:
        case "succeeded":
            return Heard(Event.DONE, "charged", reference=verdict.reference)
        case "declined" | "cancelled":
            return Heard(
                Event.REFUSED,
                verdict.failure_detail or f"The card was {verdict.status}.",
                code=verdict.failure_code or f"charge_{verdict.status}",
                reference=verdict.reference,
            )
        case "pending":
            return Heard(Event.PENDING, "The gateway is at it.", reference=verdict.reference)
    return Heard(
        Event.FAILED, f"{verdict.status} {verdict.failure_detail}".strip(), reference=verdict.reference
    )
