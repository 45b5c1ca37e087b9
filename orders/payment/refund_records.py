"""Records refunds of locked orders, settles them, and takes back those that the gateway took back: what each
changes of lines, payment, ledger and stock.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from django.db.models import F

from coupons import holding
from foundation import clock
from inventory import stock_levels
from inventory.availability import Line
from orders import order_events, order_states, pricing, product_days, rows as order_rows
from orders.models import Order, OrderLine, Refund, RefundLine, Saga
from orders.payment.refund_amounts import RefundableLine
from orders.saga import rows as saga_rows
from orders.saga.definitions import DO, NOT_KNOWN, StepResult
from payments import ledger, rows as payment_rows
from payments.models import GATEWAY_CLEARING, SALES, Transfer

KIND = "refund"
REFUND_CARD = "refund_card"
"""The saga that executes a refund, and its step at the gateway."""
FAILED = " failed"
"""How the reference of a transfer ends that takes a refund back."""
UNSETTLED = (Refund.Status.PENDING, Refund.Status.STUCK)


def refund_key(refund: Refund) -> str:
    """The gateway's idempotency key for the refund of the card amount: another amount needs another key.

    A refund that failed there needs another one as well, once an operator retries it (`unused_key`).
    """
    return f"refund-{refund.id}-{refund.card_amount}" if refund.is_reduced else f"refund-{refund.id}"


def read_calls(refunds: Mapping[UUID, Refund]) -> list[tuple[Refund, str, StepResult]]:
    """Those of these refunds by id that a saga executes, with the key of its next call, and the final result
    of its call.
    """
    sagas = list(Saga.objects.filter(kind=KIND, subject_id__in=refunds).order_by("id"))
    final = saga_rows.final_results([saga.id for saga in sagas])
    calls: list[tuple[Refund, str, StepResult]] = []
    for saga in sagas:
        refund = refunds[saga.subject_id]
        key = saga_rows.unused_key(saga, refund_key(refund))
        calls.append((refund, key, final[saga.id].get((REFUND_CARD, DO), NOT_KNOWN)))
    return calls


def refundable_lines(lines: Iterable[OrderLine]) -> list[RefundableLine]:
    """What of these lines decides their refunds."""
    return [RefundableLine(*[getattr(line, name) for name in RefundableLine._fields]) for line in lines]


def build_lines(refund: Refund, counts: Sequence[tuple[OrderLine, int]]) -> list[RefundLine]:
    """The unsaved lines of a refund of these units; they share what is missing where less is left."""
    refundable = refundable_lines(line for line, _count in counts)
    wanted = [line.amount_of(count) for line, (_line, count) in zip(refundable, counts, strict=True)]
    amounts = pricing.fit_amounts(wanted, refund.amount)
    return [
        RefundLine(refund=refund, line=line, quantity=count, amount=amount)
        for (line, count), amount in zip(counts, amounts, strict=True)
    ]


def record(order: Order, refund: Refund, lines: Sequence[RefundLine]) -> None:
    """Record the refund of the locked order, and what it takes of its lines and its payment."""
    if order.status == Order.Status.REFUNDED:
        raise RuntimeError(f"Order {order.id} is refunded: nothing of it is left.")
    if order.status == Order.Status.PAID:
        order_rows.transition([order.id], to=Order.Status.REFUNDING)
    for refund_line in lines:
        refund_line.line.refunded_quantity += refund_line.quantity
    OrderLine.objects.bulk_update([refund_line.line for refund_line in lines], ["refunded_quantity"])
    refund.save(force_insert=True)
    RefundLine.objects.bulk_create(lines)
    payment_rows.change_refunds(order.id, refunding=refund.card_amount)


def settle(refunds: Sequence[Refund]) -> None:
    """Settle refunds whose card amounts are refunded. Their orders must be locked; what else they change is
    locked in the project's order: stock, then coupons, then wallets.
    """
    now = clock.now()
    ids = [refund.id for refund in refunds]
    lines = _lines_of(ids)
    Refund.objects.filter(id__in=ids).update(status=Refund.Status.SUCCEEDED, settled_at=now)
    by_order: dict[UUID, list[Refund]] = defaultdict(list)
    for refund in refunds:
        by_order[refund.order_id].append(refund)
    statuses = _add_refunded(by_order)
    product_days.count_refunds(refunds, at=now)
    _restock(refunds, lines)
    holding.reinstate([id for id, status in statuses.items() if status == Order.Status.REFUNDED], now=now)
    ledger.transfer_many([_in_ledger(refund) for refund in refunds if refund.amount], at=now)
    of_cards = {id: sum(refund.card_amount for refund in of_order) for id, of_order in by_order.items()}
    payment_rows.settle_refunds(of_cards)
    for order_id, of_order in by_order.items():
        order = of_order[0].order
        last = of_order[-1]
        for refund in of_order:
            status = statuses[order_id] if refund is last else Order.Status.REFUNDING
            order_events.note_refunded(order, refund, lines[refund.id], status=status, at=now)
            order.refunded_amount += refund.amount


def take_back(order: Order, refund: Refund) -> None:
    """Record that the gateway took back what this settled refund of the locked order gave to the card, which
    is refundable again. Points, units, goods and the coupon that were given back stay so.
    """
    now = clock.now()
    amount = refund.card_amount
    Refund.objects.filter(id=refund.id).update(status=Refund.Status.FAILED, failed_at=now)
    status = order_states.status_after_failed_refund(order.status)
    order_rows.add_refunded({order.id: -amount})
    if order.status == Order.Status.REFUNDED:
        order_rows.transition([order.id], to=status)
    payment_rows.change_refunds(order.id, refunding=0, refunded=-amount)
    ledger.transfer(
        kind=Transfer.Kind.REFUND,
        reference=f"{refund.id}{FAILED}",
        amounts={SALES: amount, GATEWAY_CLEARING: -amount},
        order_id=order.id,
        at=now,
    )
    product_days.count_refunds([refund], at=now, have_failed=True)
    order_events.note_refund_failed(order, refund, _lines_of([refund.id])[refund.id], status=status, at=now)
    order.status = status
    order.refunded_amount -= amount


def _lines_of(refund_ids: Sequence[UUID]) -> dict[UUID, list[RefundLine]]:
    found = RefundLine.objects.filter(refund__in=refund_ids).select_related("line").order_by("id")
    lines: dict[UUID, list[RefundLine]] = {id: [] for id in refund_ids}
    for line in found:
        lines[line.refund_id].append(line)
    return lines


def _in_ledger(refund: Refund) -> ledger.Proposal:
    """Reverse a part of the sale, once: points return to the wallet, the rest by the gateway."""
    amounts = {
        SALES: -refund.amount,
        GATEWAY_CLEARING: refund.card_amount,
        refund.order.account_id: refund.points_amount,
    }
    kind = Transfer.Kind.REFUND
    return ledger.Proposal(kind=kind, reference=str(refund.id), amounts=amounts, order_id=refund.order_id)


def _add_refunded(by_order: Mapping[UUID, Sequence[Refund]]) -> dict[UUID, str]:
    """Add what was refunded to these locked orders, and change their statuses; returns those."""
    unsettled = Refund.objects.filter(order_id__in=by_order, status__in=UNSETTLED)
    refunding = set(unsettled.values_list("order_id", flat=True))
    lines = OrderLine.objects.filter(order_id__in=by_order)
    partly = set(lines.filter(refunded_quantity__lt=F("quantity")).values_list("order_id", flat=True))
    amounts = {id: sum(refund.amount for refund in of_order) for id, of_order in by_order.items()}
    order_rows.add_refunded(amounts)
    statuses: dict[UUID, str] = {}
    for id, amount in amounts.items():
        order = by_order[id][0].order
        statuses[id] = order_states.status_after_refund(
            is_refunding=id in refunding,
            has_units_left=id in partly,
            has_amount_left=order.refunded_amount + amount < order.total_amount,
        )
    for to in (Order.Status.PAID, Order.Status.REFUNDED):
        ids = [id for id, status in statuses.items() if status == to]
        if order_rows.transition(ids, to=to) != len(ids):
            raise RuntimeError(f"One of these orders can't become {to}: {', '.join(map(str, ids))}.")
    return statuses


def _restock(refunds: Sequence[Refund], lines: Mapping[UUID, Sequence[RefundLine]]) -> None:
    returned: dict[str, dict[UUID, list[Line]]] = {}
    products = set[int]()
    for refund in refunds:
        if not refund.restock:
            continue
        of_order = returned.setdefault(refund.reason, {}).setdefault(refund.order_id, [])
        for line in lines[refund.id]:
            product_id = line.line.product_id
            products.add(product_id)
            of_order.append(Line(product_id=product_id, quantity=line.quantity))
    if len(returned) > 1:
        # All at first, in the order of their ids: each reason then has some of them.
        stock_levels.lock_products(products)
    for reason, orders in returned.items():
        stock_levels.restock(orders, reason)
