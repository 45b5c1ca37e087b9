"""The saga that pays an order: what is reserved, held, debited, charged, settled and told.

| step | do | undo |
| --- | --- | --- |
| reserve_inventory, hold_coupon | in the transaction that placed the order | release, give back |
| debit_balance | points: wallet to holding | and back |
| charge_card | the gateway, keyed | cancel or refund, keyed |
| settle | sold, redeemed, paid; the point of no return | |
| transmit | the order's events to the data platform, by the outbox | |
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from coupons import holding
from inventory import reservations
from inventory.reservations import Line
from orders import charging, saga, telling, transitions
from orders.models import Order, OrderLine, Saga, SagaLog
from orders.saga_log import Event, Heard
from orders.steps import KINDS, Call, Kind, Local, Outside, alone
from orders.writing import NewOrder
from payments import ledger, paying
from payments.models import Payment
from shop import outbox, wakeups
from shop.errors import Rejected
from shop.journal import Who

NAME = "purchase"
# A batch of events costs the same for many orders, and their buyers wait for none of it.
GATHER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Started:
    """A payment and its saga with the first lines of its log."""

    payment: Payment
    saga: Saga
    log: list[SagaLog]


def new(order: Order | NewOrder, *, token: str, by: Who | None = None) -> Started:
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
        paying.write([one.payment for one in started])
        saga.begin([(one.saga, one.log) for one in started])


def lines_of(order_id: UUID) -> list[Line]:
    """What the order holds of the stock."""
    return _lines([order_id])[order_id]


def _lines(order_ids: Sequence[UUID]) -> dict[UUID, list[Line]]:
    """What each of these orders holds of the stock."""
    lines: dict[UUID, list[Line]] = {order_id: [] for order_id in order_ids}
    rows = OrderLine.objects.filter(order_id__in=order_ids).order_by("id")
    for order_id, product_id, quantity in rows.values_list("order_id", "product_id", "quantity"):
        lines[order_id].append(Line(product_id=product_id, quantity=quantity))
    return lines


def _orders(rows: Sequence[Saga]) -> dict[UUID, Order]:
    """The sagas' orders, by saga."""
    payments = Payment.objects.select_related("order").in_bulk([row.subject_id for row in rows])
    return {row.id: cast(Order, payments[row.subject_id].order) for row in rows}


def _order_ids(rows: Sequence[Saga]) -> list[UUID]:
    """The sagas' orders' ids: a row of old may not name its order."""
    return [row.about_id or _order(row).id for row in rows]


def _order(row: Saga) -> Order:
    return _orders([row])[row.id]


def _lock(payment_ids: Collection[UUID]) -> None:
    transitions.lock(Payment.objects.filter(id__in=payment_ids).values_list("order_id", flat=True))


def _done_when_placed(row: Saga) -> str:
    raise RuntimeError("An order takes its stock and coupon when it is placed.")


def _release_stock(row: Saga) -> str:
    reservations.release(lines_of(_order(row).id))
    return "released"


def _give_coupon_back(row: Saga) -> str:
    holding.give_back([_order(row).id])
    return "given back"


def _debit_points(rows: Sequence[Saga]) -> list[str | Rejected]:
    orders = list(_orders(rows).values())
    held = ledger.hold_points_of(orders)
    return [
        one if isinstance(one, Rejected) else f"{order.points_amount} points held"
        for order, one in zip(orders, held, strict=True)
    ]


def _credit_points(row: Saga) -> str:
    order = _order(row)
    ledger.release_points(order_id=order.id, user_id=order.account_id, amount=order.points_amount)
    return f"{order.points_amount} points given back"


def _settle(rows: Sequence[Saga]) -> list[str | Rejected]:
    orders, now = _orders(rows), timezone.now()
    order_ids = [order.id for order in orders.values()]
    if transitions.move(order_ids, to=Order.Status.PAID, paid_at=now) != len(orders):
        states = {order.status for order in orders.values()}
        raise RuntimeError(f"Orders that are {', '.join(states)} can't become paid.")
    reservations.sell(_lines(order_ids))
    holding.redeem(order_ids)
    for order in orders.values():
        telling.note(order, status=Order.Status.PAID, at=now)
    ledger.settle_sales(list(orders.values()))
    references = charging.charge_references(rows)
    paying.mark_all_succeeded({row.subject_id: references[row.id] for row in rows}, at=now)
    return ["paid"] * len(rows)


def _transmit(row: Saga) -> Heard:
    [heard] = _tell([row])
    return heard


def _transmissions(rows: Sequence[Saga]) -> list[Call]:
    return [Call(rows, partial(_tell, rows), uses_database=True)]


def _tell(rows: Sequence[Saga]) -> list[Heard]:
    """Have the events of these orders delivered."""
    order_ids = _order_ids(rows)
    errors = outbox.deliver_all(order_ids)
    told = [errors.get(order_id) for order_id in order_ids]
    return [Heard(Event.FAILED, error) if error else Heard(Event.DONE, "accepted") for error in told]


def _compensated(row: Saga) -> None:
    order, now = _order(row), timezone.now()
    failure = {"failure_code": row.failure_code, "failure_detail": row.failure_detail}
    if transitions.move([order.id], to=Order.Status.PAYMENT_FAILED, ended_at=now, **failure):
        telling.note(order, status=Order.Status.PAYMENT_FAILED, at=now, detail=row.failure_detail)
    charging.mark_ended(row)


def _wake(rows: Sequence[Saga]) -> None:
    """Tell everybody who waits for the orders or their payments that they have settled."""
    wakeups.announce(*map(str, _order_ids(rows)), *(str(row.subject_id) for row in rows))


def _wake_one(row: Saga) -> None:
    _wake([row])


KINDS[NAME] = Kind(
    name=NAME,
    steps=(
        Local("reserve_inventory", do=_done_when_placed, undo=_release_stock),
        Local("hold_coupon", do=_done_when_placed, undo=_give_coupon_back),
        Local("debit_balance", do=alone(_debit_points), undo=_credit_points, together=_debit_points),
        charging.STEP,
        Local("settle", do=alone(_settle), after=_wake, together=_settle),
        Outside("transmit", do=_transmit, calls=_transmissions, gather_seconds=GATHER_SECONDS),
    ),
    lock=_lock,
    compensated=_compensated,
    after_undone=_wake_one,
    stuck=charging.mark_stuck,
)
