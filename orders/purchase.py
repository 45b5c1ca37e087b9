"""The saga that pays an order: what is reserved, held, debited, charged, settled and told.

| step | do | undo |
| --- | --- | --- |
| reserve_inventory, hold_coupon | in the transaction that placed the order | release, give back |
| debit_balance | points: wallet to holding | and back |
| charge_card | the gateway, keyed | cancel or refund, keyed |
| settle | sold, redeemed, paid; the point of no return | |
| transmit | the order's events to the data platform, by the outbox | |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from coupons import holding
from inventory import reservations
from inventory.reservations import Line
from orders import charging, saga, telling, transitions
from orders.models import Order, OrderLine, Saga, SagaLog
from orders.steps import KINDS, Event, Heard, Kind, Local, Outside
from payments import ledger, paying
from payments.models import Payment
from shop import outbox, wakeups
from shop.journal import Who

NAME = "purchase"


@dataclass(frozen=True, slots=True)
class Started:
    """A payment and its saga with the first lines of its log."""

    payment: Payment
    saga: Saga
    log: list[SagaLog]


def new(order: Order, *, token: str, by: Who | None = None) -> Started:
    """The unsaved payment of an order, with its saga: for the transaction that starts it, and `save`.

    The order already holds its stock and coupon; what doesn't apply to it is skipped from the start.
    """
    payment = paying.new(order=order, token=token, at=timezone.now())
    needless = {
        "hold_coupon": not order.coupon_code,
        "debit_balance": not order.points_amount,
        charging.NAME: not order.card_amount,
    }
    row, log = saga.new(
        kind=NAME,
        subject_id=payment.id,
        about_id=order.id,
        by=by,
        give_up_seconds=settings.PAYMENT_GIVE_UP_SECONDS,
        done=["reserve_inventory"] if needless["hold_coupon"] else ["reserve_inventory", "hold_coupon"],
        skipped=[step for step, is_needless in needless.items() if is_needless],
    )
    return Started(payment, row, log)


def save(started: Sequence[Started]) -> None:
    """Write them, three statements for any number."""
    if started:
        Payment.objects.bulk_create([one.payment for one in started])
        saga.begin([(one.saga, one.log) for one in started])


def lines_of(order_id: UUID) -> list[Line]:
    """What the order holds of the stock."""
    rows = OrderLine.objects.filter(order_id=order_id).values_list("product_id", "quantity")
    return [Line(product_id=product_id, quantity=quantity) for product_id, quantity in rows]


def _order(row: Saga) -> Order:
    return Order.objects.get(payments=row.subject_id)


def _lock(payment_id: UUID) -> None:
    order_id = Payment.objects.values_list("order_id", flat=True).get(id=payment_id)
    Order.objects.select_for_update().only("id").get(id=order_id)


def _done_when_placed(row: Saga) -> str:
    raise RuntimeError("An order takes its stock and coupon when it is placed.")


def _release_stock(row: Saga) -> str:
    reservations.release(lines_of(_order(row).id))
    return "released"


def _give_coupon_back(row: Saga) -> str:
    holding.give_back([_order(row).id])
    return "given back"


def _debit_points(row: Saga) -> str:
    order = _order(row)
    ledger.hold_points(order_id=order.id, user_id=order.account_id, amount=order.points_amount)
    return f"{order.points_amount} points held"


def _credit_points(row: Saga) -> str:
    order = _order(row)
    ledger.release_points(order_id=order.id, user_id=order.account_id, amount=order.points_amount)
    return f"{order.points_amount} points given back"


def _settle(row: Saga) -> str:
    order, now = _order(row), timezone.now()
    if not transitions.move([order.id], to=Order.Status.PAID, paid_at=now):
        raise RuntimeError(f"An order that is {order.status} can't become paid.")
    reservations.sell({order.id: lines_of(order.id)})
    holding.redeem([order.id])
    telling.note(order, status=Order.Status.PAID, at=now)
    ledger.settle_sale(order_id=order.id, points_amount=order.points_amount, card_amount=order.card_amount)
    paying.mark_succeeded(row.subject_id, charge_reference=charging.charge_reference(row), at=now)
    return "paid"


def _transmit(row: Saga) -> Heard:
    error = outbox.deliver(_order(row).id)
    return Heard(Event.FAILED, error) if error else Heard(Event.DONE, "accepted")


def _compensated(row: Saga) -> None:
    order, now = _order(row), timezone.now()
    failure = {"failure_code": row.failure_code, "failure_detail": row.failure_detail}
    if transitions.move([order.id], to=Order.Status.PAYMENT_FAILED, ended_at=now, **failure):
        telling.note(order, status=Order.Status.PAYMENT_FAILED, at=now, detail=row.failure_detail)
    charging.mark_ended(row)


def _wake(row: Saga) -> None:
    """Tell everybody who waits for the order or its payment that it has settled."""
    wakeups.announce(str(_order(row).id))
    wakeups.announce(str(row.subject_id))


KINDS[NAME] = Kind(
    name=NAME,
    steps=(
        Local("reserve_inventory", do=_done_when_placed, undo=_release_stock),
        Local("hold_coupon", do=_done_when_placed, undo=_give_coupon_back),
        Local("debit_balance", do=_debit_points, undo=_credit_points),
        charging.STEP,
        Local("settle", do=_settle, after=_wake),
        Outside("transmit", do=_transmit),
    ),
    lock=_lock,
    compensated=_compensated,
    after_undone=_wake,
    stuck=charging.mark_stuck,
)
