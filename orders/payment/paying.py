"""Starts the payment of an order that was placed without one."""

from dataclasses import dataclass
from uuid import UUID

from orders import order_states
from orders.models import Order
from orders.payment import purchase
from orders.payment.purchase import StartedPurchase
from payments import ledger
from shop import clock
from shop.errors import NotFound, Rejected, invalid_field
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import KeyedCall, Replay


@dataclass(frozen=True, slots=True)
class StartedPayment:
    """A started payment, and its order."""

    order: Order
    started: StartedPurchase


def pay(*, account_id: int, order_id: UUID, token: str, keyed: KeyedCall) -> StartedPayment | Replay:
    """Start the payment of an order that awaits it; the saga does the rest.

    Durable when it returns; repeating the key gives a `Replay`. Raises `NotFound`, `Rejected`
    `order_not_payable` or `insufficient_points`, `Invalid` when a card is missing, `KeyReused`.
    """

    def begin() -> StartedPayment:
        order = _lock_own(order_id, account_id)
        _check_payable(order, token)
        started = purchase.new_purchase(order, token=token)
        order_states.transition([order.id], to=Order.Status.PAYING)
        purchase.insert_purchases([started])
        return StartedPayment(order, started)

    return recorded_answers.run_once(keyed, begin, reference=lambda paying: paying.started.payment.id)


def _lock_own(order_id: UUID, account_id: int) -> Order:
    """The account's order, locked. Read without a lock first: locking a missing row would lock a gap."""
    if not Order.objects.filter(id=order_id, account_id=account_id).exists():
        raise NotFound("There is no such order.")
    return Order.objects.select_for_update().get(id=order_id)


def _check_payable(order: Order, token: str) -> None:
    if order.status != Order.Status.AWAITING_PAYMENT or order.expires_at <= clock.now():
        raise Rejected(
            "This order can't be paid: it is paid, being paid or has ended.", code="order_not_payable"
        )
    if order.points_amount > ledger.balance_amount(order.account_id):
        raise Rejected("The wallet holds fewer points than the order uses.", code="insufficient_points")
    if not token and order.card_amount:
        raise invalid_field("token", "required", "A card is needed for what points don't cover.")
