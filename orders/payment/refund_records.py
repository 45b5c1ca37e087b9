"""Records refunds of locked orders, and settles them: what each takes of lines, payment, ledger and stock."""

from collections import Counter as Tally, defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db.models import F

from coupons import redemption
from inventory import reservations, stock_levels
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


def settle(refunds: Sequence[Refund]) -> None:
    """Settle refunds whose card amounts are refunded. Their orders must be locked; what else they change is
    locked in the project's order: stock, then coupons, then wallets.
    """
    now, ids = clock.now(), [refund.id for refund in refunds]
    lines: dict[UUID, list[RefundLine]] = {id: [] for id in ids}
    for line in RefundLine.objects.filter(refund__in=ids).select_related("line").order_by("id"):
        lines[line.refund_id].append(line)
    Refund.objects.filter(id__in=ids).update(status=Refund.Status.SUCCEEDED, settled_at=now)
    # Two of an order have the same object of it.
    orders = {refund.order_id: refund.order for refund in refunds}
    amounts, left = Tally[UUID](), Tally(refund.order_id for refund in refunds)
    for refund in refunds:
        refund.order = orders[refund.order_id]
        amounts[refund.order_id] += refund.amount
    statuses = _add_refunded(orders, amounts)
    _restock(refunds, lines)
    redemption.reinstate([id for id in orders if statuses[id] == Order.Status.REFUNDED], now=now)
    ledger.refund(
        (
            ledger.Refunded(one.id, one.order_id, one.order.account_id, one.points_amount, one.card_amount)
            for one in refunds
        ),
        at=now,
    )
    for refund in refunds:
        amount, order = refund.card_amount, refund.order
        payment_states.change_refunds(order.id, refunding=-amount, refunded=amount)
        left[order.id] -= 1
        status = Order.Status.REFUNDING if left[order.id] else statuses[order.id]
        order_events.note_refunded(order, refund, lines[refund.id], status=status, at=now)
        order.refunded_amount += refund.amount


def _add_refunded(orders: Mapping[UUID, Order], amounts: Mapping[UUID, int]) -> dict[UUID, str]:
    """Add what was refunded to these locked orders, and change their statuses; returns those."""
    unsettled = Refund.objects.filter(order_id__in=orders, status__in=UNSETTLED)
    refunding = set(unsettled.values_list("order_id", flat=True))
    lines = OrderLine.objects.filter(order_id__in=orders, refunded_quantity__lt=F("quantity"))
    partly = set(lines.values_list("order_id", flat=True))
    by_status: dict[str, list[UUID]] = defaultdict(list)
    for id, order in orders.items():
        Order.objects.filter(id=id).update(refunded_amount=F("refunded_amount") + amounts[id])
        # A disputed amount may be left when all units are refunded.
        is_partly = id in partly or order.refunded_amount + amounts[id] < order.total_amount
        status = Order.Status.PAID if is_partly else Order.Status.REFUNDED
        by_status[Order.Status.REFUNDING if id in refunding else status].append(id)
    for to, ids in by_status.items():
        if to != Order.Status.REFUNDING and order_states.transition(ids, to=to) != len(ids):
            raise RuntimeError(f"One of these orders can't become {to}: {', '.join(map(str, ids))}.")
    return {id: status for status, ids in by_status.items() for id in ids}


def _restock(refunds: Sequence[Refund], lines: Mapping[UUID, Sequence[RefundLine]]) -> None:
    returned: dict[str, dict[UUID, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for refund in refunds:
        if refund.restock:
            returned[refund.reason][refund.order_id] += [
                Line(product_id=line.line.product_id, quantity=line.quantity) for line in lines[refund.id]
            ]
    products = {line.product_id for orders in returned.values() for each in orders.values() for line in each}
    if len(returned) > 1:
        # All at first, in the order of their ids: each reason then has some of them.
        stock_levels.lock(products)
    for reason, orders in returned.items():
        reservations.restock(orders, reason)
