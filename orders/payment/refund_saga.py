"""The saga that executes a refund: the card first, then everything else in one transaction.

| step | do |
| --- | --- |
| refund_card | refund at the gateway, keyed; skipped if no card was charged |
| settle_refund | points, stock, coupon and the order's status, in one transaction |

A refund is never compensated: it is retried until it is done, and the customer gets what was not given back
at the gateway meanwhile. Where as much as a stuck refund was given back there, it may have been in place of
it: an operator decides. One that the gateway refuses for good ends without it once two operators say so.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from django.utils.translation import gettext_noop

from foundation.errors import Rejected, Unavailable
from foundation.lazy_texts import mark
from foundation.money import format_amount
from orders.models import Refund, Saga
from orders.payment import gateway_bookings, gateway_facts, refund_records
from orders.payment.refund_records import KIND, REFUND_CARD, refund_key
from orders.saga import rows as saga_rows
from orders.saga.definitions import (
    APPLIED,
    FORCED_DETAIL,
    SAGA_TYPES,
    Call,
    Event,
    LocalStep,
    LookUp,
    OutsideStep,
    SagaRow,
    Sagas,
    SagaType,
    StepResult,
    WorkClass,
)
from orders.saga.progress import RETRYABLE
from payments import gateways
from payments.gateways.contract import NOT_CALLED, ExpectedCharge, GatewayResult
from payments.models import Payment

REPLACED = gettext_noop(
    "As much is refunded at the gateway already: record the step as done, or retry it to refund that as well."
)


class Expected(NamedTuple):
    """The charge and amount of a stuck refund, and what other refunds of the charge there are: the amounts of
    those that are done, and that the shop has made itself, and the keys of those under way. `accepted_amount`
    was refunded by hand when an operator had this one made all the same.
    """

    charge: ExpectedCharge
    amount: int
    done_amount: int
    made_amount: int
    other_keys: list[str]
    accepted_amount: int
    is_refused: bool


def _refund_cards(sagas: Sagas) -> list[Call]:
    refunds = Refund.objects.in_bulk([saga.subject_id for saga in sagas])
    order_ids = [refund.order_id for refund in refunds.values()]
    paid = Payment.objects.filter(order_id__in=order_ids, status=Payment.Status.SUCCEEDED)
    payments = {payment.order_id: payment for payment in paid}
    calls = list[Call]()
    for saga in sagas:
        refund = refunds[saga.subject_id]
        key = saga_rows.unused_key(saga, refund_key(refund))
        stuck = _read(saga) if saga.state == Saga.State.STUCK else None
        calls.append(partial(_refund_card, refund, payments[refund.order_id], key, stuck))
    return calls


def _read(saga: SagaRow) -> Expected:
    refund = Refund.objects.get(id=saga.subject_id)
    payment = Payment.objects.filter(order_id=refund.order_id, status=Payment.Status.SUCCEEDED).first()
    charge = gateway_facts.expected_charge(payment)
    assert payment
    of_order = Refund.objects.filter(order_id=refund.order_id).exclude(id=refund.id)
    others = of_order.exclude(status=Refund.Status.FAILED).in_bulk()
    done_amount = payment.refunded_amount
    made_amount = 0
    other_keys = list[str]()
    for other, key, result in refund_records.read_calls(others):
        if result.event == Event.FAILED:
            other_keys.append(key)
        if result.event == Event.DONE:
            made_amount += other.card_amount
        if result.event in APPLIED and other.status in refund_records.UNSETTLED:
            done_amount += other.card_amount
    return Expected(
        charge,
        refund.card_amount,
        done_amount=done_amount,
        made_amount=made_amount,
        other_keys=other_keys,
        accepted_amount=refund.by_hand_amount,
        is_refused=bool(refund.refusal_code),
    )


def _ask(expected: Expected, direction: str) -> StepResult:
    """Whether so much is refunded there beyond the shop's others; failed where it is less, and refused."""
    charge = gateway_facts.find_charge(expected.charge)
    left_amount = _refunded_besides(expected, charge)[0]
    if left_amount >= expected.amount:
        return StepResult(Event.FORCED, FORCED_DETAIL, reference=charge.reference)
    if expected.is_refused:
        return StepResult(Event.FAILED, reference=charge.reference, answer=left_amount)
    wanted_amount = charge.refunded_amount - left_amount + expected.amount
    raise gateway_facts.disagrees(
        mark(
            "{found} of the charge are refunded there; with this refund it would be {expected}",
            found=format_amount(charge.refunded_amount, expected.charge.currency),
            expected=format_amount(wanted_amount, expected.charge.currency),
        )
    )


def _note_refunded(saga: SagaRow, expected: Expected) -> Callable[[], object]:
    """Ask what is refunded by hand when an operator retries the refund, which is made besides that."""
    charge = gateways.of(expected.charge.books).find(key=expected.charge.key)
    if charge.status == "unknown":
        raise Unavailable(gateway_facts.NO_ANSWER, retry_after=5)
    amount = _refunded_besides(expected, charge)[1]
    refunds = Refund.objects.filter(id=saga.subject_id, by_hand_amount__lt=amount)
    return partial(refunds.update, by_hand_amount=amount)


def _refunded_besides(expected: Expected, charge: GatewayResult) -> tuple[int, int]:
    """What is refunded of the charge there, less what other refunds account for, and less what the shop made.

    The second is all that was refunded by hand, booked or not, and never shrinks. The others are asked about
    after the charge: what is made meanwhile is then never taken for what was given back by hand.
    """
    amount = charge.refunded_amount
    for key in expected.other_keys:
        other = gateways.of(expected.charge.books).find_refund(key=key, charge_reference=charge.reference)
        if other.status == "unknown":
            raise Unavailable(gateway_facts.NO_ANSWER, retry_after=5)
        amount -= other.amount if other.status in ("succeeded", "pending") else 0
    return max(0, amount - expected.done_amount), max(0, amount - expected.made_amount)


def _why_not_to_repeat(expected: Expected, charge_reference: str, key: str) -> str:
    """Why a stuck refund, which may have been made by hand, is not tried again; empty if it is."""
    own = gateways.of(expected.charge.books).find_refund(key=key, charge_reference=charge_reference)
    if own.status != "absent":
        return gateway_facts.described(own) if own.status == "unknown" else ""
    charge = gateways.of(expected.charge.books).find(key=expected.charge.key)
    if charge.status != "succeeded":
        return gateway_facts.described(charge)
    left_amount, by_hand_amount = _refunded_besides(expected, charge)
    is_replaced = min(left_amount, by_hand_amount - expected.accepted_amount) >= expected.amount
    return REPLACED if is_replaced else ""


def _refund_card(refund: Refund, payment: Payment, key: str, stuck: Expected | None) -> StepResult:
    if not refund.card_amount:
        return StepResult(Event.DONE, gettext_noop("The gateway has given it back already."))
    if stuck and (reason := _why_not_to_repeat(stuck, payment.charge_reference, key)):
        return StepResult(Event.FAILED, reason)
    gateway = gateways.of(payment.books)
    amount = refund.card_amount
    refunded = gateway.refund(key=key, charge_reference=payment.charge_reference, amount=amount)
    result = gateway_facts.judge_refund(refunded, amount=amount, detail=f"{amount} refunded")
    if result.code != "refund_exceeds_charge":
        return result
    return replace(result, answer=gateway.find(key=payment.charge_key))


def _note_result(saga: SagaRow, result: StepResult) -> None:
    """Record if the gateway refuses the refund. Reduce one of which it has less left, or refuses the rest
    as two operators confirm.
    """
    if result.event in RETRYABLE and result.code != NOT_CALLED:
        Refund.objects.filter(id=saga.subject_id).update(refusal_code=result.code[:64])
    if result.event == Event.FORCED and result.answer is not None:
        refund = Refund.objects.get(id=saga.subject_id)
        rest_amount = refund.card_amount - result.answer
        gateway_bookings.reduce(refund, by=rest_amount, why="is not refunded by the gateway")
    elif result.answer and result.answer.status == "succeeded":
        gateway_bookings.fit_refund(saga.subject_id, result.answer)


def _settle(sagas: Sagas) -> list[str | Rejected]:
    found = Refund.objects.select_related("order").in_bulk([saga.subject_id for saga in sagas])
    refund_records.settle([*found.values()])
    return [f"{found[saga.subject_id].amount} refunded" for saga in sagas]


def _mark(saga: SagaRow, *, status: str) -> None:
    Refund.objects.filter(id=saga.subject_id, status__in=refund_records.UNSETTLED).update(status=status)


SAGA_TYPES[KIND] = SagaType(
    steps=(
        OutsideStep(
            REFUND_CARD, do=_refund_cards, on_result=_note_result, look_up=LookUp(_read, _ask, _note_refunded)
        ),
        LocalStep("settle_refund", do=_settle),
    ),
    work_class=WorkClass.REFUND,
    on_stuck=partial(_mark, status=Refund.Status.STUCK),
    on_resumed=partial(_mark, status=Refund.Status.PENDING),
)
