"""The saga that keeps a refund's promise: the card first, then all the rest in one transaction.

| step | do |
| --- | --- |
| refund_card | the gateway, keyed; skipped when no card paid for it |
| settle_refund | points, goods, coupon, the order's state; one local transaction |

Nothing here is ever undone: what was promised to a customer is tried until it is done. A gateway that
refuses leaves the refund stuck, for operators to see, and it is still retried.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db.models import F

from coupons import redemption
from inventory import reservations
from inventory.reservations import Line
from orders import order_events, order_states
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.order_states import LockedOrder
from orders.saga.definitions import (
    SAGA_TYPES,
    Attempt,
    Event,
    LocalStep,
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
    """The key under which the gateway gives back a refund's card amount, once."""
    return f"refund-{refund_id}"


def _lock(sagas: Sequence[SagaRow], skip_locked: bool) -> dict[UUID, LockedOrder]:
    refunds = Refund.objects.filter(id__in=[saga.subject_id for saga in sagas])
    order_ids = dict(refunds.values_list("id", "order_id"))
    locked = order_states.lock(order_ids.values(), skip_locked=skip_locked)
    found = {saga.id: locked.get(order_ids.get(saga.subject_id, saga.id)) for saga in sagas}
    return {saga_id: order for saga_id, order in found.items() if order}


def _refund_cards(attempts: Sequence[Attempt]) -> list[OutsideCall]:
    refunds = Refund.objects.in_bulk([one.saga.subject_id for one in attempts])
    paid = Payment.objects.filter(order_id__in=[refund.order_id for refund in refunds.values()])
    references = dict(paid.values_list("order_id", "charge_reference"))
    return [
        OutsideCall([one.saga], partial(_refund_card, refund, references[refund.order_id]))
        for one in attempts
        for refund in [refunds[one.saga.subject_id]]
    ]


def _refund_card(refund: Refund, charge_reference: str) -> list[StepResult]:
    result = gateway().refund(
        key=refund_key(refund.id), charge_reference=charge_reference, amount=refund.card_amount
    )
    match result.status:
        case "succeeded":
            return [StepResult(Event.DONE, f"{refund.card_amount} refunded", reference=result.reference)]
        case "pending":
            return [StepResult(Event.PENDING, "The gateway is working on it.", reference=result.reference)]
    failure = f"{result.status} {result.failure_code} {result.failure_detail}"
    return [StepResult(Event.FAILED, " ".join(failure.split()), reference=result.reference)]


def _settle(sagas: Sequence[SagaRow]) -> list[str | Rejected]:
    return [_settle_one(saga) for saga in sagas]


def _settle_one(saga: SagaRow) -> str:
    """Goods, coupon, points and books, and the order's state: as the lock order has it."""
    now = clock.now()
    refund = Refund.objects.select_related("order").get(id=saga.subject_id)
    order = refund.order
    lines = list(RefundLine.objects.filter(refund=refund).select_related("line").order_by("id"))
    Refund.objects.filter(id=refund.id).update(status=Refund.Status.SUCCEEDED, settled_at=now)
    status = _update_order(refund)
    if refund.restock:
        reservations.restock({order.id: [_to_stock_line(one) for one in lines]}, refund.reason)
    if status == Order.Status.REFUNDED:
        redemption.reinstate(order.id, now=now)
    ledger.refund(
        refund_id=refund.id,
        order_id=order.id,
        user_id=order.account_id,
        points_amount=refund.points_amount,
        card_amount=refund.card_amount,
    )
    payment_states.end_refund(order.id, card_amount=refund.card_amount)
    order_events.note_refunded(order, refund, lines, status=status, at=now)
    return f"{refund.amount} given back"


def _update_order(refund: Refund) -> str:
    """Count what is given back; the order is `refunding` on while another refund is under way."""
    orders = Order.objects.filter(id=refund.order_id)
    orders.update(refunded_amount=F("refunded_amount") + refund.amount)
    if Refund.objects.filter(order_id=refund.order_id, status__in=UNSETTLED).exists():
        return Order.Status.REFUNDING
    left = OrderLine.objects.filter(order_id=refund.order_id, refunded_quantity__lt=F("quantity"))
    status = Order.Status.PAID if left.exists() else Order.Status.REFUNDED
    if not order_states.transition([refund.order_id], to=status):
        raise RuntimeError(f"An order that is {refund.order.status} can't become {status}.")
    return status


def _to_stock_line(one: RefundLine) -> Line:
    return Line(product_id=one.line.product_id, quantity=one.quantity)


def _mark_stuck(sagas: Sequence[SagaRow]) -> None:
    _mark(sagas, Refund.Status.PENDING, to=Refund.Status.STUCK)


def _mark_resumed(sagas: Sequence[SagaRow]) -> None:
    _mark(sagas, Refund.Status.STUCK, to=Refund.Status.PENDING)


def _mark(sagas: Sequence[SagaRow], status: str, *, to: str) -> None:
    Refund.objects.filter(id__in=[saga.subject_id for saga in sagas], status=status).update(status=to)


SAGA_TYPES[NAME] = SagaType(
    name=NAME,
    steps=(OutsideStep(REFUND_CARD, do=_refund_cards), LocalStep("settle_refund", do=_settle)),
    lock=_lock,
    # Each locks stock, coupon and wallet in turn: two would break the order of the locks.
    shares_batches=False,
    stuck=_mark_stuck,
    resumed=_mark_resumed,
)
