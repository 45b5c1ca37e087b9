"""How an unpaid order ends: cancelled by its owner, or expired."""

from collections.abc import Collection, Sequence
from functools import partial
from uuid import UUID

from coupons import holding
from inventory import reservations
from inventory.reservations import Line
from orders import telling, transitions
from orders.models import Order, OrderLine
from orders.writing import NewOrder
from shop import clock, transactions
from shop.errors import NotFound, Rejected

EXPIRED_AT_ONCE = 100


def cancel(*, order_id: UUID, account_id: int | None) -> Order:
    """Cancel an order that awaits payment, and give back all it holds; again is the same again.

    `account_id` None is staff, who may cancel anybody's. Durable when it returns. Raises `NotFound` and
    `Rejected` `order_not_cancellable`.
    """
    return transactions.run(lambda: _cancel(order_id, account_id), transactions.REPEATABLE)


def expire_due() -> int:
    """End the orders whose time to be paid is over. Returns how many."""
    ended = 0
    while True:
        ids = list(
            Order.objects.filter(status=Order.Status.AWAITING_PAYMENT, expires_at__lte=clock.now())
            .order_by("expires_at")
            .values_list("id", flat=True)[:EXPIRED_AT_ONCE]
        )
        if not ids:
            return ended
        ended += transactions.run(partial(_expire, ids), transactions.REPEATABLE)


def is_lapsed(order: Order | NewOrder) -> bool:
    """Whether the order counts as expired, swept or not."""
    return order.status == Order.Status.AWAITING_PAYMENT and order.expires_at <= clock.now()


def _cancel(order_id: UUID, account_id: int | None) -> Order:
    own = {} if account_id is None else {"account_id": account_id}
    if not Order.objects.filter(id=order_id, **own).exists():
        raise NotFound("There is no such order.")
    order = Order.objects.select_for_update().get(id=order_id)
    if order.status == Order.Status.CANCELLED:
        return order
    if order.status != Order.Status.AWAITING_PAYMENT or is_lapsed(order):
        raise Rejected(_why_not(order), code="order_not_cancellable")
    _end([order], to=Order.Status.CANCELLED)
    return Order.objects.get(id=order_id)


def _why_not(order: Order) -> str:
    if order.status in transitions.PAID:
        return "The order is paid: ask for a refund instead."
    if order.status == Order.Status.PAYING:
        return "The order is being paid."
    return "The order is over already."


def _expire(order_ids: Collection[UUID]) -> int:
    """Those of the orders that are still unpaid once their rows are locked."""
    rows = Order.objects.select_for_update().filter(id__in=order_ids).order_by("id")
    lapsed = [order for order in rows if is_lapsed(order)]
    if lapsed:
        _end(lapsed, to=Order.Status.EXPIRED)
    return len(lapsed)


def _end(orders: Sequence[Order], *, to: str) -> None:
    """With the orders locked: give back stock and coupons, and say so."""
    order_ids, now = [order.id for order in orders], clock.now()
    rows = OrderLine.objects.filter(order_id__in=order_ids).values_list("product_id", "quantity")
    reservations.release([Line(product_id=product_id, quantity=quantity) for product_id, quantity in rows])
    holding.give_back(order_ids)
    transitions.move(order_ids, to=to, ended_at=now)
    for order in orders:
        telling.note(order, status=to, at=now)
