"""The saga that pays an order.

| step | do | undo |
| --- | --- | --- |
| reserve_inventory, hold_coupon | in the transaction that placed the order | release |
| debit_balance | transfer points from the wallet to holding | transfer them back |
| charge_card | charge at the gateway, keyed | cancel or refund, keyed |
| settle | sell stock, redeem coupon, mark paid, write the event; the point of no return | |

An order has at most one payment that is not failed. If that one has `keep_on_decline` and its card is
refused, the order awaits payment again until `expires_at`, with its stock and coupon. Its points are
released, and the next payment holds them again. A payment that is given up ends its order all the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from uuid import UUID

from django.utils.translation import gettext_noop

from coupons import holding
from foundation import clock
from foundation.errors import Rejected, invalid_field
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.journal import ActorContext
from foundation.lazy_texts import mark
from foundation.values import Values
from inventory import stock_levels
from inventory.availability import Line
from inventory.lost_demand import Reason
from orders import lost_demand, order_events, order_states, rows as order_rows
from orders.limits import Payer
from orders.models import Order
from orders.order_states import OrderRow
from orders.payment import charging, rows as declined_rows
from orders.payment.charging import StartedPayment
from orders.saga import rows as saga_rows, run
from orders.saga.definitions import (
    ACTION_EXPIRED,
    GAVE_UP,
    SAGA_TYPES,
    Event,
    LocalStep,
    Sagas,
    SagaType,
    StepResult,
)
from payments import ledger, rows as payment_rows
from payments.models import Payment

KIND = "purchase"
MOST_PER_ORDER = 5
"""How many payments an order may have, one after the other."""
KEPT = StepResult(Event.SKIPPED, gettext_noop("kept for another card"))


def pay(
    *,
    account_id: int,
    order_id: UUID,
    token: str,
    keyed: KeyedCall,
    keep_on_decline: bool = False,
    payer: Payer | None = None,
) -> StartedPayment | Replay:
    """Start a payment of an order that awaits it; the saga does the rest.

    Durable when it returns; repeating the key gives a `Replay`. Raises `NotFound`, `Rejected`
    `order_not_payable` or `insufficient_points`, `Invalid` when a card is missing, `KeyReused`, and
    `Throttled` if the payer's cards were declined too often.
    """

    def begin() -> StartedPayment:
        order = order_rows.lock_order(order_id, account_id=account_id)
        earlier = Payment.objects.filter(order_id=order_id).count()
        _check_payable(order, token, earlier)
        charging.check_card_limits(declined_rows.lock_and_count_declines([payer]), payer)
        started = new_purchase(
            order, token=token, keep_on_decline=keep_on_decline, number=earlier + 1, payer=payer
        )
        order_rows.transition([order.id], to=Order.Status.PAYING)
        insert_purchases([started])
        return started

    return recorded_answers.run_once(keyed, begin, reference=lambda started: started.payment.id)


def new_purchase(
    order: Order | OrderRow,
    *,
    token: str,
    by: ActorContext | None = None,
    keep_on_decline: bool = False,
    number: int = 1,
    payer: Payer | None = None,
    lines: Sequence[Line] = (),
) -> StartedPayment:
    """An unsaved payment of an order with its saga, for the transaction that calls `insert_purchases`."""
    payment = payment_rows.new_payment(
        order=order,
        token=token,
        at=clock.now(),
        keep_on_decline=keep_on_decline,
        number=number,
        api_key_id=payer.key_id if payer else None,
    )
    # Stock and coupon are reserved and held where the order is placed.
    final = {
        "reserve_inventory": Event.DONE,
        "hold_coupon": Event.DONE if order.coupon_code else Event.SKIPPED,
    }
    if not order.points_amount:
        final["debit_balance"] = Event.SKIPPED
    if not order.card_amount:
        final[charging.NAME] = Event.SKIPPED
    saga, log = saga_rows.new_saga(kind=KIND, subject_id=payment.id, about_id=order.id, by=by, final=final)
    return StartedPayment(payment, saga, log, lines)


def insert_purchases(purchases: Sequence[StartedPayment]) -> None:
    """Insert these payments and their sagas. A process that has places for sagas leases those that begin with
    a call. Points are held first, in a batch: a worker's has more orders.
    """
    if not purchases:
        return
    rows = [saga_rows.new_row(purchase.saga, purchase.log, begun=purchase) for purchase in purchases]
    for leased in run.process_executor().lease_new(rows):
        for name, value in leased.changes.items():
            setattr(leased.begun.saga, name, value)
    payment_rows.insert_payments([purchase.payment for purchase in purchases])
    saga_rows.insert_sagas([(purchase.saga, purchase.log) for purchase in purchases])


def _check_payable(order: Order, token: str, earlier: int) -> None:
    order_states.check_payable(
        order.status, order.expires_at, clock.now(), payments=earlier, most_payments=MOST_PER_ORDER
    )
    if order.points_amount > ledger.balance_amount(order.account_id):
        raise Rejected(mark("The wallet holds fewer points than the order uses."), code="insufficient_points")
    if not token and order.card_amount:
        raise invalid_field("token", "required", mark("A card is needed for what points don't cover."))


def _refuse_to_repeat(sagas: Sagas) -> list[str | Rejected]:
    raise RuntimeError("An order reserves its stock and coupon when it is placed.")


def _kept(sagas: Sagas) -> set[UUID]:
    """The payments of these compensated sagas that leave their order to be paid with another card."""
    refused = []
    for saga in sagas:
        if charging.is_declined(saga) and saga.failure_code != charging.CHARGE_CANCELLED:
            refused.append(saga.subject_id)
    # Without one of them this is no query.
    return set(Payment.objects.filter(id__in=refused, keep_on_decline=True).values_list("id", flat=True))


def _release_stock(sagas: Sagas) -> None:
    lines = order_rows.read_lines([saga.parent.id for saga in sagas])
    stock_levels.release(list(chain.from_iterable(lines.values())))
    owners = {}
    for saga in sagas:
        is_given_up = saga.failure_code in (GAVE_UP, ACTION_EXPIRED)
        reason = Reason.GIVEN_UP if is_given_up else Reason.DECLINED
        owners[saga.parent.id] = (saga.parent.account_id, reason)
    lost_demand.note_ended(lines, owners)


def _release_unless_kept(sagas: Sagas, *, release: Callable[[Sagas], object]) -> list[str | StepResult]:
    kept = _kept(sagas)
    if ended := [saga for saga in sagas if saga.subject_id not in kept]:
        release(ended)
    return [KEPT if saga.subject_id in kept else gettext_noop("released") for saga in sagas]


def _payment_ids(sagas: Sagas) -> dict[UUID, UUID]:
    """The payment of each saga by its order: points are held once for each payment."""
    return {saga.parent.id: saga.subject_id for saga in sagas}


def _debit_points(sagas: Sagas) -> list[str | Rejected]:
    orders: list[OrderRow] = [saga.parent for saga in sagas]
    held = ledger.hold_points(orders, is_locked=True, references=_payment_ids(sagas))
    return [
        outcome if isinstance(outcome, Rejected) else f"{order.points_amount} points held"
        for order, outcome in zip(orders, held, strict=True)
    ]


def _credit_points(sagas: Sagas) -> list[str]:
    ledger.release_points([saga.parent for saga in sagas], is_locked=True, references=_payment_ids(sagas))
    return [f"{saga.parent.points_amount} points released" for saga in sagas]


def _settle(sagas: Sagas) -> list[str | Rejected]:
    now = clock.now()
    orders: list[OrderRow] = [saga.parent for saga in sagas]
    order_ids = [order.id for order in orders]
    order_rows.mark_paid(orders, at=now)
    # The instant at which the order is paid: reports by period add up to the ledger.
    ledger.settle_sales(orders, at=now, is_locked=True)
    charging.mark_paid(sagas, at=now)
    lines = {saga.parent.id: saga.begun.lines for saga in sagas if saga.begun and saga.begun.lines}
    if unread := [id for id in order_ids if id not in lines]:
        lines |= order_rows.read_lines(unread)
    if with_coupon := [order.id for order in orders if order.coupon_code]:
        coupon_ids = holding.held_ids(with_coupon)
    # Other orders of these products wait from here to the commit, so everything else is done before.
    stock_levels.sell(lines, at=now)
    if with_coupon:
        holding.redeem(with_coupon, ids=coupon_ids)
    for order in orders:
        order_events.note_status(order, status=Order.Status.PAID, at=now)
    return ["paid"] * len(sagas)


def _mark_failed(sagas: Sagas) -> None:
    """End the payments, and their orders but those that are kept for another card."""
    now = clock.now()
    kept = _kept(sagas)
    for saga in sagas:
        order: OrderRow = saga.parent
        detail = saga.failure_detail
        status = Order.Status.PAYMENT_FAILED
        what = ""
        changes: Values = {"ended_at": now, "failure_code": saga.failure_code, "failure_detail": detail}
        if saga.subject_id in kept:
            status = Order.Status.AWAITING_PAYMENT
            what = order_events.KEPT
            changes = {}
        if order_rows.transition([order.id], to=status, **changes):
            order_events.note_status(order, status=status, at=now, detail=detail, what=what)
    charging.mark_ended(sagas)


SAGA_TYPES[KIND] = SagaType(
    steps=(
        LocalStep(
            "reserve_inventory",
            do=_refuse_to_repeat,
            undo=partial(_release_unless_kept, release=_release_stock),
        ),
        LocalStep(
            "hold_coupon",
            do=_refuse_to_repeat,
            undo=partial(
                _release_unless_kept,
                release=lambda sagas: holding.release([saga.parent.id for saga in sagas]),
            ),
        ),
        LocalStep("debit_balance", do=_debit_points, undo=_credit_points),
        charging.STEP,
        LocalStep("settle", do=_settle),
    ),
    on_compensated=_mark_failed,
    notify=charging.notify,
    on_stuck=charging.mark_stuck,
)
