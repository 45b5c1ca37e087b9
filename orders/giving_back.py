"""The saga that keeps a refund's promise: the card first, then all the rest in one transaction.

| step | do |
| --- | --- |
| refund_card | the gateway, keyed; skipped when no card paid for it |
| settle_refund | points, goods, coupon, the order's state; one local transaction |

Nothing here is ever undone: what was promised to a customer is tried until it is done. A gateway that
refuses leaves the refund stuck, for operators to see, and it is still tried now and then.
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from coupons import holding
from inventory import reservations
from inventory.reservations import Line
from orders import telling, transitions
from orders.models import Order, OrderLine, Refund, RefundLine, Saga
from orders.saga_log import Event, Heard
from orders.steps import KINDS, Kind, Local, Outside
from payments import ledger, paying
from payments.gateways import gateway
from payments.models import Payment

NAME, REFUND_CARD = "refund", "refund_card"
UNSETTLED = (Refund.Status.PENDING, Refund.Status.STUCK)


def refund_key(refund_id: UUID) -> str:
    """The key under which the gateway gives back a refund's card amount, once."""
    return f"refund-{refund_id}"


def _lock(refund_ids: Collection[UUID]) -> None:
    transitions.lock(Refund.objects.filter(id__in=refund_ids).values_list("order_id", flat=True))


def _refund_card(row: Saga) -> Heard:
    refund = Refund.objects.get(id=row.subject_id)
    payment = Payment.objects.get(order_id=refund.order_id)
    verdict = gateway().refund(
        key=refund_key(refund.id), charge_reference=payment.charge_reference, amount=refund.card_amount
    )
    match verdict.status:
        case "succeeded":
            return Heard(Event.DONE, f"{refund.card_amount} refunded", reference=verdict.reference)
        case "pending":
            return Heard(Event.PENDING, "The gateway is at it.", reference=verdict.reference)
    told = f"{verdict.status} {verdict.failure_code} {verdict.failure_detail}"
    return Heard(Event.FAILED, " ".join(told.split()), reference=verdict.reference)


def _settle(row: Saga) -> str:
    """Goods, coupon, points and books, and the order's state: as the lock order has it."""
    now = timezone.now()
    refund = Refund.objects.select_related("order").get(id=row.subject_id)
    order = refund.order
    lines = list(RefundLine.objects.filter(refund=refund).select_related("line").order_by("id"))
    Refund.objects.filter(id=refund.id).update(status=Refund.Status.SUCCEEDED, settled_at=now)
    status = _move_on(refund)
    if refund.restock:
        reservations.put_back({order.id: [_returned(one) for one in lines]}, refund.reason)
    if status == Order.Status.REFUNDED:
        holding.give_back_redeemed(order.id, now=now)
    ledger.refund(
        refund_id=refund.id,
        order_id=order.id,
        user_id=order.account_id,
        points_amount=refund.points_amount,
        card_amount=refund.card_amount,
    )
    paying.end_refund(order.id, card_amount=refund.card_amount)
    telling.note_refunded(order, refund, lines, status=status, at=now)
    return f"{refund.amount} given back"


def _move_on(refund: Refund) -> str:
    """Count what is given back; the order is `refunding` on while another refund is under way."""
    orders = Order.objects.filter(id=refund.order_id)
    orders.update(refunded_amount=F("refunded_amount") + refund.amount)
    if Refund.objects.filter(order_id=refund.order_id, status__in=UNSETTLED).exists():
        return Order.Status.REFUNDING
    left = OrderLine.objects.filter(order_id=refund.order_id, refunded_quantity__lt=F("quantity"))
    status = Order.Status.PAID if left.exists() else Order.Status.REFUNDED
    if not transitions.move([refund.order_id], to=status):
        raise RuntimeError(f"An order that is {refund.order.status} can't become {status}.")
    return status


def _returned(one: RefundLine) -> Line:
    return Line(product_id=one.line.product_id, quantity=one.quantity)


def _mark_stuck(row: Saga) -> None:
    Refund.objects.filter(id=row.subject_id, status=Refund.Status.PENDING).update(status=Refund.Status.STUCK)


def _mark_resumed(row: Saga) -> None:
    Refund.objects.filter(id=row.subject_id, status=Refund.Status.STUCK).update(status=Refund.Status.PENDING)


def _never_undone(row: Saga) -> None:
    raise RuntimeError("A refund is never undone.")


KINDS[NAME] = Kind(
    name=NAME,
    steps=(Outside(REFUND_CARD, do=_refund_card), Local("settle_refund", do=_settle)),
    lock=_lock,
    compensated=_never_undone,
    stuck=_mark_stuck,
    resumed=_mark_resumed,
)
