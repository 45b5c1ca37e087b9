"""The saga that executes a refund: the card first, then everything else in one transaction.

| step | do |
| --- | --- |
| refund_card | refund at the gateway, keyed; skipped if no card was charged |
| settle_refund | points, stock, coupon and the order's status, in one transaction |

A refund is never compensated: once recorded it is retried until it is done. If the gateway refuses it, the
refund is stuck, which operators see, and it is still retried.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db.models import F
from django.utils.translation import gettext_noop

from coupons import redemption
from inventory import reservations
from inventory.reservations import Line
from orders import order_events, order_states
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.order_states import LockedOrder
from orders.payment import gateway_facts
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
from payments import ledger, payment_states
from payments.gateways import gateway
from payments.models import Payment
from shop import clock
from shop.errors import Rejected

NAME, REFUND_CARD = "refund", "refund_card"
UNSETTLED = (Refund.Status.PENDING, Refund.Status.STUCK)


def refund_key(refund_id: UUID) -> str:
    """The gateway's idempotency key for the refund of the card amount."""
    return f"refund-{refund_id}"


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
    references = dict(paid.values_list("order_id", "charge_reference"))
    return [
        OutsideCall([attempt.saga], partial(_refund_card, refund, references[refund.order_id]))
        for attempt in attempts
        for refund in [refunds[attempt.saga.subject_id]]
    ]


def _refund_card(refund: Refund, charge_reference: str) -> list[StepResult]:
    result = gateway().refund(
        key=refund_key(refund.id), charge_reference=charge_reference, amount=refund.card_amount
    )
    match result.status:
        case "succeeded":
            return [StepResult(Event.DONE, f"{refund.card_amount} refunded", reference=result.reference)]
        case "pending":
            return [
                StepResult(
                    Event.PENDING, gettext_noop("The gateway is working on it."), reference=result.reference
                )
            ]
    failure = f"{result.status} {result.failure_code} {result.failure_detail}"
    return [StepResult(Event.FAILED, " ".join(failure.split()), reference=result.reference)]


def _settle(sagas: Sequence[SagaRow]) -> list[str | Rejected]:
    return [_settle_one(saga) for saga in sagas]


def _settle_one(saga: SagaRow) -> str:
    """Settle a refund: stock, coupon, points, ledger and the order's status, in the project's lock order."""
    now = clock.now()
    refund = Refund.objects.select_related("order").get(id=saga.subject_id)
    order = refund.order
    lines = list(RefundLine.objects.filter(refund=refund).select_related("line").order_by("id"))
    Refund.objects.filter(id=refund.id).update(status=Refund.Status.SUCCEEDED, settled_at=now)
    status = _update_order(refund)
    if refund.restock:
        reservations.restock({order.id: [_to_stock_line(line) for line in lines]}, refund.reason)
    if status == Order.Status.REFUNDED:
        redemption.reinstate(order.id, now=now)
    ledger.refund(
        refund_id=refund.id,
        order_id=order.id,
        user_id=order.account_id,
        points_amount=refund.points_amount,
        card_amount=refund.card_amount,
        at=now,
    )
    payment_states.end_refund(order.id, card_amount=refund.card_amount)
    order_events.note_refunded(order, refund, lines, status=status, at=now)
    return f"{refund.amount} refunded"


def _update_order(refund: Refund) -> str:
    """Add the refund to the order; returns its status: `refunding` while another refund is pending."""
    orders = Order.objects.filter(id=refund.order_id)
    orders.update(refunded_amount=F("refunded_amount") + refund.amount)
    if Refund.objects.filter(order_id=refund.order_id, status__in=UNSETTLED).exists():
        return Order.Status.REFUNDING
    left = OrderLine.objects.filter(order_id=refund.order_id, refunded_quantity__lt=F("quantity"))
    status = Order.Status.PAID if left.exists() else Order.Status.REFUNDED
    if not order_states.transition([refund.order_id], to=status):
        raise RuntimeError(f"An order that is {refund.order.status} can't become {status}.")
    return status


def _to_stock_line(line: RefundLine) -> Line:
    return Line(product_id=line.line.product_id, quantity=line.quantity)


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
