"""Starts refunds of paid orders: one transaction decides the amounts and records the refund.

A recorded refund counts as taken at once, so concurrent refunds never exceed what was paid. The saga of
`orders.payment.refund_saga` then executes it; that may take long, but it is never given up. One that fails
after it was done leaves its card amount to be refunded again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Sum

from accounts.operating import own_account
from foundation import clock
from foundation.errors import Rejected, required
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.lazy_texts import Text, mark
from foundation.money import format_amount
from inventory.availability import Lines
from orders import order_events, order_states, rows as order_rows
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.payment import refund_amounts, refund_records, refund_saga
from orders.payment.refund_amounts import Refundable
from orders.saga import rows as saga_rows
from orders.saga.definitions import Event
from payments import disputes
from payments.models import Payment


class StartedRefund(NamedTuple):
    refund: Refund
    lines: list[RefundLine]
    saga_id: UUID


@dataclass(frozen=True, slots=True)
class RefundPreview:
    """What a refund returns: the units and amount of each product, and their amount in points and by card.

    `refunded_quantities` were refunded before: refunds of a first and a second unit may be equal otherwise.
    """

    quantities: Mapping[int, int]
    refunded_quantities: Mapping[int, int]
    amount: int
    points_amount: int
    card_amount: int
    line_amounts: Mapping[int, int] = field(default_factory=dict, compare=False)


def start_refund(
    *,
    order_id: UUID,
    wanted: Lines | None,
    reason: str,
    restock: bool,
    keyed: KeyedCall,
    expected: RefundPreview | None = None,
) -> StartedRefund | Replay:
    """Start to refund these lines of a paid order, (None) all that is left of it, or without lines what is
    owed besides the units that are left.

    Durable when it returns; repeating the key gives a `Replay`. Raises `NotFound`, `KeyReused`, `NotAllowed`
    `own_account`, and `Rejected` `nothing_to_refund`, `refund_exceeds_order` with `items`, or with `expected`
    `refund_changed` if it would return anything else, or after another refund of these products.
    """

    def start() -> StartedRefund:
        order = order_rows.lock_order(order_id)
        refund, refund_lines = _decide_refund(order, wanted, reason=reason, restock=restock)
        if expected is not None:
            _assert_as_expected(expected, _to_preview(refund, refund_lines), currency=order.currency)
        refund_records.record(order, refund, refund_lines)
        saga, started = saga_rows.new_saga(
            kind=refund_saga.KIND,
            subject_id=refund.id,
            about_id=order.id,
            final={} if refund.card_amount else {refund_saga.REFUND_CARD: Event.SKIPPED},
        )
        order_events.note_refund_requested(order, refund, refund_lines)
        saga_rows.insert_sagas([(saga, started)])
        return StartedRefund(refund, refund_lines, saga.id)

    return recorded_answers.run_once(keyed, start, reference=lambda started_refund: started_refund.refund.id)


def preview_refund(*, order_id: UUID, wanted: Lines | None) -> RefundPreview:
    """What `start_refund` would return now; raises what that raises for the order and the lines."""
    order = required(Order.objects.filter(id=order_id).first(), mark("There is no such order."))
    return _to_preview(*_decide_refund(order, wanted, reason="", restock=True))


def unsettled_references(references: Collection[UUID], at: datetime) -> set[UUID]:
    """Those of these references that are refunds not settled at that instant."""
    refunds = Refund.objects.filter(id__in=references).exclude(settled_at__lte=at)
    return set(refunds.values_list("id", flat=True))


def _decide_refund(
    order: Order, wanted: Lines | None, *, reason: str, restock: bool
) -> tuple[Refund, list[RefundLine]]:
    """The unsaved refund of the order, which is final if the order is locked, and its lines."""
    own_account.refuse_own(order.account_id)
    shown = order.status_at(clock.now())
    refund_amounts.check_refundable(order.status, shown=shown)
    lines = list(OrderLine.objects.filter(order_id=order.id).order_by("id"))
    units, amount, points_amount = refund_amounts.decide(
        refund_records.refundable_lines(lines),
        None if wanted is None else {line.product_id: line.quantity for line in wanted},
        refundable(order),
        points_amount=order.points_amount,
        total_amount=order.total_amount,
    )
    refund = Refund(
        order=order,
        amount=amount,
        points_amount=points_amount,
        card_amount=amount - points_amount,
        reason=reason,
        restock=restock,
        created_at=clock.now(),
    )
    counts = [(line, units[line.product_id]) for line in lines if line.product_id in units]
    return refund, refund_records.build_lines(refund, counts)


def owed_amount(order: Order) -> int:
    """What is left to refund besides the units that are left: a refund of others failed, or could not give
    back all because of a dispute that is won since.
    """
    left = refundable(order)
    lines = refund_records.refundable_lines(OrderLine.objects.filter(order_id=order.id))
    return refund_amounts.owed_amount(lines, left.amount)


def failed_refunds(*, most: int) -> list[Refund]:
    """At most so many refunds that failed, of orders to which something is owed; the newest first."""
    failed = Refund.objects.filter(failed_at__isnull=False, order__status__in=order_states.REFUNDABLE)
    newest = failed.select_related("order").order_by("-failed_at")[:most]
    owed = {id: owed_amount(order) for id, order in {one.order_id: one.order for one in newest}.items()}
    return [refund for refund in newest if owed[refund.order_id]]


def refundable(order: Order) -> Refundable:
    """What is left to refund: not refunded, nor about to be, nor disputed at the gateway."""
    taken = Refund.objects.filter(order_id=order.id).aggregate(points=Sum("points_amount"))["points"] or 0
    payment = Payment.objects.get(order_id=order.id, status=Payment.Status.SUCCEEDED)
    left = payment.card_amount - payment.refunding_amount - payment.refunded_amount
    held = min(left, disputes.held_amount(disputes.amounts_of(payment.charge_key)))
    return Refundable(order.points_amount - taken, left - held, held)


def _to_preview(refund: Refund, lines: Sequence[RefundLine]) -> RefundPreview:
    return RefundPreview(
        quantities={line.line.product_id: line.quantity for line in lines},
        refunded_quantities={line.line.product_id: line.line.refunded_quantity for line in lines},
        amount=refund.amount,
        points_amount=refund.points_amount,
        card_amount=refund.card_amount,
        line_amounts={line.line.product_id: line.amount for line in lines},
    )


def _assert_as_expected(expected: RefundPreview, found: RefundPreview, *, currency: str) -> None:
    """Raise `Rejected` `refund_changed` if the order has changed since the preview."""
    if found == expected:
        return
    now = _in_words(found, currency)
    then = _in_words(expected, currency)
    other = mark(
        "The order has changed since the amount was shown, and nothing was refunded: this refund would now "
        "return {now}, not {then}.",
        now=now,
        then=then,
    )
    same = mark(
        "The order has changed since the amount was shown, and nothing was refunded: this refund would now "
        "return {now} once more, after another refund.",
        now=now,
    )
    raise Rejected(
        other if now != then else same,
        code="refund_changed",
        amount=found.amount,
        points_amount=found.points_amount,
        card_amount=found.card_amount,
    )


def _in_words(preview: RefundPreview, currency: str) -> Text:
    return mark(
        "{amount} ({points} in points, {card} by card)",
        amount=format_amount(preview.amount, currency),
        points=format_amount(preview.points_amount, currency),
        card=format_amount(preview.card_amount, currency),
    )
