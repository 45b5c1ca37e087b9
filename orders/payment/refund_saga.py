"""The saga that executes a refund: the card first, then everything else in one transaction.

| step | do |
| --- | --- |
| refund_card | refund at the gateway, keyed; skipped if no card was charged |
| settle_refund | points, stock, coupon and the order's status, in one transaction |

A refund is never compensated: once recorded it is retried until it is done. If the gateway refuses it, the
refund is stuck, which operators see, and it is still retried. Where a part was given back at the gateway
meanwhile, the customer gets the rest (`orders.payment.gateway_bookings`). Where as much as a stuck refund was
given back there, it may have been in place of it, so the refund is left to an operator.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.utils.translation import gettext_noop

from orders import order_states
from orders.models import Refund, Saga
from orders.order_states import LockedOrder
from orders.payment import gateway_bookings, gateway_facts, refund_records
from orders.saga import log
from orders.saga.definitions import (
    SAGA_TYPES,
    Attempt,
    Event,
    LocalStep,
    LookUp,
    OutsideCall,
    OutsideStep,
    SagaRow,
    SagaType,
    StepResult,
)
from payments.gateways import gateway
from payments.gateways.contract import GatewayResult
from payments.models import Payment
from shop.errors import Rejected

NAME, REFUND_CARD = "refund", "refund_card"
REPLACED = gettext_noop(
    "As much is refunded at the gateway already: record the step as done, or retry it to refund that as well."
)


def refund_key(refund: Refund) -> str:
    """The gateway's idempotency key for the refund of the card amount: another amount needs another key.

    The key before was declined, and the gateway has less left of the charge than its amount ever since. A
    refund that failed there needs another one as well, once an operator retries it (`log.unused_key`).
    """
    return f"refund-{refund.id}-{refund.card_amount}" if refund.is_reduced else f"refund-{refund.id}"


def _lock(sagas: Sequence[SagaRow], skip_locked: bool) -> dict[UUID, LockedOrder]:
    refunds = Refund.objects.filter(id__in=[saga.subject_id for saga in sagas])
    order_ids = dict(refunds.values_list("id", "order_id"))
    locked = order_states.lock(order_ids.values(), skip_locked=skip_locked)
    found = {saga.id: locked.get(order_ids.get(saga.subject_id, saga.id)) for saga in sagas}
    return {saga_id: order for saga_id, order in found.items() if order}


def _refund_cards(attempts: Sequence[Attempt]) -> list[OutsideCall]:
    refunds = Refund.objects.in_bulk([attempt.saga.subject_id for attempt in attempts])
    order_ids = [refund.order_id for refund in refunds.values()]
    paid = Payment.objects.filter(order_id__in=order_ids, status=Payment.Status.SUCCEEDED)
    payments = {payment.order_id: payment for payment in paid}
    return [
        OutsideCall(
            [attempt.saga],
            partial(
                _refund_card,
                refund,
                payments[refund.order_id],
                log.unused_key(attempt.saga, REFUND_CARD, refund_key(refund)),
                is_stuck=attempt.saga.state == Saga.State.STUCK,
            ),
        )
        for attempt in attempts
        for refund in [refunds[attempt.saga.subject_id]]
    ]


def _why_not_to_repeat(refund: Refund, payment: Payment, key: str) -> str:
    """Why a stuck refund, which may have been made by hand in its place, is not tried again; empty if it is.

    What the gateway has made under its own key is no other's.
    """
    own = gateway().find_refund(key=key, charge_reference=payment.charge_reference)
    if own.status != "absent":
        return _described(own) if own.status == "unknown" else ""
    charge = gateway().find(key=payment.charge_key)
    if charge.status != "succeeded":
        return _described(charge)
    is_replaced = charge.refunded_amount - payment.refunded_amount >= refund.card_amount
    return REPLACED if is_replaced else ""


def _described(result: GatewayResult) -> str:
    return " ".join(f"{result.status} {result.failure_code} {result.failure_detail}".split())


def _refund_card(refund: Refund, payment: Payment, key: str, *, is_stuck: bool) -> list[StepResult]:
    if not refund.card_amount:
        return [StepResult(Event.DONE, gettext_noop("The gateway has given it back already."))]
    if is_stuck and (reason := _why_not_to_repeat(refund, payment, key)):
        return [StepResult(Event.FAILED, reason)]
    result = gateway().refund(key=key, charge_reference=payment.charge_reference, amount=refund.card_amount)
    match result.status:
        case "succeeded":
            return [StepResult(Event.DONE, f"{refund.card_amount} refunded", reference=result.reference)]
        case "pending":
            return [
                StepResult(
                    Event.PENDING, gettext_noop("The gateway is working on it."), reference=result.reference
                )
            ]
    exceeds = result.failure_code == "refund_exceeds_charge"
    found = gateway().find(key=payment.charge_key) if exceeds else None
    return [StepResult(Event.FAILED, _described(result), reference=result.reference, answer=found)]


def _fit_to_charge(saga: SagaRow, result: StepResult) -> None:
    """Reduce a refund of which the gateway has less left, because of what was given back or lost there.

    One that it refuses is reduced to what it has done of it, once two operators confirm that.
    """
    if result.event == Event.FORCED and result.answer:
        gateway_bookings.drop_rest(saga.subject_id, result.answer)
    elif result.answer and result.answer.status == "succeeded":
        gateway_bookings.fit_refund(saga.subject_id, result.answer)


def _settle(sagas: Sequence[SagaRow]) -> list[str | Rejected]:
    return [_settle_one(saga) for saga in sagas]


def _settle_one(saga: SagaRow) -> str:
    refund = Refund.objects.select_related("order").get(id=saga.subject_id)
    refund_records.settle(refund)
    return f"{refund.amount} refunded"


def _mark_stuck(sagas: Sequence[SagaRow]) -> None:
    _mark(sagas, Refund.Status.PENDING, to=Refund.Status.STUCK)


def _mark_resumed(sagas: Sequence[SagaRow]) -> None:
    _mark(sagas, Refund.Status.STUCK, to=Refund.Status.PENDING)


def _mark(sagas: Sequence[SagaRow], status: str, *, to: str) -> None:
    Refund.objects.filter(id__in=[saga.subject_id for saga in sagas], status=status).update(status=to)


SAGA_TYPES[NAME] = SagaType(
    name=NAME,
    steps=(
        OutsideStep(
            REFUND_CARD,
            do=_refund_cards,
            on_result=_fit_to_charge,
            look_up=LookUp(gateway_facts.read_refund, gateway_facts.ask_about_refund),
        ),
        LocalStep("settle_refund", do=_settle),
    ),
    lock=_lock,
    # Each saga locks stock, coupon and wallet in turn: two in a batch would violate the lock order.
    shares_batches=False,
    on_stuck=_mark_stuck,
    on_resumed=_mark_resumed,
)
