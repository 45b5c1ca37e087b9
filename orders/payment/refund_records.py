"""Records refunds of locked orders, and settles them: what each takes of lines, payment, ledger and stock."""

from collections.abc import Sequence

from django.db.models import F

from coupons import redemption
from inventory import reservations
from inventory.reservations import Line
from orders import order_events, order_states, pricing
from orders.models import Order, OrderLine, Refund, RefundLine
from payments import ledger, payment_states
from shop import clock

UNSETTLED = (Refund.Status.PENDING, Refund.Status.STUCK)


def refundable_amount(line: OrderLine, count: int) -> int:
    """The refund for `count` more units of the line, after those that are refunded already."""
    before, after = (
        pricing.discounted_amount(
            units, quantity=line.quantity, unit_price=line.unit_price, discount_amount=line.discount_amount
        )
        for units in (line.refunded_quantity, line.refunded_quantity + count)
    )
    return after - before


def build_lines(refund: Refund, counts: Sequence[tuple[OrderLine, int]]) -> list[RefundLine]:
    """The unsaved lines of a refund of these units; they share what is missing where less is left."""
    amounts = pricing.fit_amounts([refundable_amount(line, count) for line, count in counts], refund.amount)
    return [
        RefundLine(refund=refund, line=line, quantity=count, amount=amount)
        for (line, count), amount in zip(counts, amounts, strict=True)
    ]


def record(order: Order, refund: Refund, lines: Sequence[RefundLine]) -> None:
    """Record the refund of the locked order, and what it takes of its lines and its payment."""
    if order.status == Order.Status.PAID:
        order_states.transition([order.id], to=Order.Status.REFUNDING)
    for refund_line in lines:
        refund_line.line.refunded_quantity += refund_line.quantity
    OrderLine.objects.bulk_update([refund_line.line for refund_line in lines], ["refunded_quantity"])
    refund.save(force_insert=True)
    RefundLine.objects.bulk_create(lines)
    payment_states.change_refunds(order.id, refunding=refund.card_amount)


def settle(refund: Refund) -> None:
    """Settle a refund whose card amount is refunded. Its order must be locked."""
    now = clock.now()
    order = refund.order
    lines = list(RefundLine.objects.filter(refund=refund).select_related("line").order_by("id"))
    Refund.objects.filter(id=refund.id).update(status=Refund.Status.SUCCEEDED, settled_at=now)
    orders = Order.objects.filter(id=order.id)
    orders.update(refunded_amount=F("refunded_amount") + refund.amount)
    left = OrderLine.objects.filter(order_id=order.id, refunded_quantity__lt=F("quantity"))
    if Refund.objects.filter(order_id=order.id, status__in=UNSETTLED).exists():
        status = Order.Status.REFUNDING
    # A disputed amount may be left when all units are refunded.
    elif left.exists() or orders.filter(refunded_amount__lt=F("total_amount")).exists():
        status = Order.Status.PAID
    else:
        status = Order.Status.REFUNDED
    if status != Order.Status.REFUNDING and not order_states.transition([order.id], to=status):
        raise RuntimeError(f"An order that is {order.status} can't become {status}.")
    if refund.restock:
        reservations.restock(
            {order.id: [Line(product_id=line.line.product_id, quantity=line.quantity) for line in lines]},
            refund.reason,
        )
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
    amount = refund.card_amount
    payment_states.change_refunds(order.id, refunding=-amount, refunded=amount)
    order_events.note_refunded(order, refund, lines, status=status, at=now)
