"""Books refunds and disputes that began at the gateway: from events, look-ups and reconciliations.

What the shop's own refunds of a charge don't account for, settled or under way, was refunded there, and is
booked as a refund by amount: once, however many look-ups see it and in whatever order.
"""

from functools import partial
from uuid import UUID

from django.db.models import Sum
from django.utils.translation import gettext_noop

from orders import pricing
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.payment import refund_records
from payments import disputes, gateways, ledger, payment_states
from payments.gateways.contract import GatewayResult
from payments.models import Payment, Transfer
from shop import clock
from shop.db import transactions
from shop.journal import journal

REASON = gettext_noop("Refunded at the gateway.")
LATE = gettext_noop("The charge succeeded after its payment had ended.")


def look_up(payment: Payment) -> tuple[bool, str]:
    """Ask the gateway, outside a transaction; returns whether all is booked now, and the outcome in words."""
    found = gateways.of(payment.books).find(key=payment.charge_key)
    if found.status != "succeeded":
        return False, f"the gateway says {found.status}"
    return book(payment.id, found)


def book(payment_id: UUID, found: GatewayResult) -> tuple[bool, str]:
    """Book what is new of a succeeded charge; returns what `look_up` does."""
    return transactions.run(partial(_book, payment_id, found), transactions.REPEATABLE)


def record_late_refund(payment: Payment, amount: int) -> None:
    """Record the refund of a charge that succeeded after its payment had ended: nothing of it was booked."""
    if payment.order_id is None:
        return
    refund = _build_refund(payment.order_id, amount, source=Refund.Source.LATE_CHARGE, reason=LATE)
    refund.status, refund.settled_at = Refund.Status.SUCCEEDED, refund.created_at
    refund.save(force_insert=True)


def fit_refund(refund_id: UUID, found: GatewayResult) -> None:
    """Reduce a refund to what is left of the charge at the gateway, which has declined it.

    What is missing was refunded there, and is booked, or was lost in a dispute. A part that is disputed is
    waited for. The order must be locked.
    """
    refund = Refund.objects.select_related("order").get(id=refund_id)
    payment = Payment.objects.get(order_id=refund.order_id, status=Payment.Status.SUCCEEDED)
    if not _agrees(payment, found) or refund.card_amount <= found.kept_amount:
        return
    disputes.book(payment, found)
    others_amount = payment.refunding_amount - refund.card_amount
    unknown_amount = max(0, found.refunded_amount - payment.refunded_amount - others_amount)
    lost_amount = disputes.amounts_of(payment.charge_key).get(disputes.Status.LOST, 0)
    taken_amount = payment.refunded_amount + others_amount + unknown_amount + lost_amount
    excess = refund.card_amount - max(0, payment.card_amount - taken_amount)
    if excess > 0:
        _reduce(refund, by=excess, why="was given back or lost at the gateway already")
    if unknown_amount:
        _book_refund(refund.order, unknown_amount)


def drop_rest(refund_id: UUID, made_amount: int) -> None:
    """Take off a refund what the gateway has not refunded, and refuses to. The order must be locked."""
    refund = Refund.objects.get(id=refund_id)
    _reduce(refund, by=refund.card_amount - made_amount, why="is not refunded by the gateway")


def _book(payment_id: UUID, found: GatewayResult) -> tuple[bool, str]:
    payment = Payment.objects.get(id=payment_id)
    order = payment.order_id and Order.objects.select_for_update().get(id=payment.order_id)
    # Read again under the order's lock, which everything takes that books refunds; a top-up has its own.
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.status != Payment.Status.SUCCEEDED:
        return False, f"the payment is {payment.status}"
    if not _agrees(payment, found):
        return True, "refused: the charge is not the payment's"
    disputes.book(payment, found)
    unknown_amount = found.refunded_amount - payment.refunded_amount - payment.refunding_amount
    if unknown_amount > 0:
        if order:
            _book_refund(order, unknown_amount)
        else:
            _book_refund_of_top_up(payment, unknown_amount)
    payment.refresh_from_db(fields=["refunded_amount"])
    if found.refunded_amount > payment.refunded_amount:
        return False, "a refund of the shop is under way"
    return True, f"the payment is succeeded, {payment.refunded_amount} is refunded"


def _agrees(payment: Payment, found: GatewayResult) -> bool:
    """Whether the charge is the payment's; otherwise that is noted, and nothing may be booked of it."""
    if payment_states.expected_charge(payment).is_met_by(found):
        return True
    disputes.note_once(
        payment,
        disputes.DISAGREES,
        f"The gateway has a charge of {found.amount} {found.currency} instead of {payment.card_amount} "
        f"{payment.currency}: nothing was booked.",
        reference=found.reference,
    )
    return False


def _book_refund(order: Order, amount: int) -> None:
    """Book what the gateway has given back, without goods: by amount, or all that is left with its units."""
    of_order = Refund.objects.filter(order_id=order.id).exclude(source=Refund.Source.LATE_CHARGE)
    taken = of_order.aggregate(total=Sum("amount"))["total"] or 0
    is_rest = taken + amount >= order.total_amount
    lines = OrderLine.objects.filter(order_id=order.id).order_by("id") if is_rest else ()
    counts = [(line, left) for line in lines if (left := line.quantity - line.refunded_quantity)]
    refund = _build_refund(order.id, amount, source=Refund.Source.GATEWAY, reason=REASON)
    refund.order = order
    refund_records.record(order, refund, refund_records.build_lines(refund, counts))
    refund_records.settle([refund])


def _build_refund(order_id: UUID, amount: int, *, source: str, reason: str) -> Refund:
    return Refund(
        order_id=order_id,
        amount=amount,
        points_amount=0,
        card_amount=amount,
        reason=reason,
        restock=False,
        source=source,
        created_at=clock.now(),
    )


def _book_refund_of_top_up(payment: Payment, amount: int) -> None:
    payment.refunded_amount += amount
    payment.save(update_fields=["refunded_amount"])
    reference = f"{payment.id} {payment.refunded_amount}"
    ledger.reverse_top_up(payment, kind=Transfer.Kind.REFUND, reference=reference, amount=amount)
    journal.note(
        what="payment.refunded",
        subject=f"payment {payment.id}",
        after={"refunded_amount": payment.refunded_amount},
        detail=f"{amount} refunded at the gateway",
        reference=payment.charge_reference,
    )


def _reduce(refund: Refund, *, by: int, why: str) -> None:
    """Refund less, by another key: the gateway has less left of the charge, or refuses the rest."""
    before = {"amount": refund.amount, "card_amount": refund.card_amount}
    refund.amount, refund.card_amount, refund.is_reduced = refund.amount - by, refund.card_amount - by, True
    refund.save(update_fields=["amount", "card_amount", "is_reduced"])
    lines = list(RefundLine.objects.filter(refund=refund).order_by("id"))
    amounts = pricing.fit_amounts([line.amount for line in lines], refund.amount)
    for line, amount in zip(lines, amounts, strict=True):
        line.amount = amount
    RefundLine.objects.bulk_update(lines, ["amount"])
    payment_states.change_refunds(refund.order_id, refunding=-by)
    journal.note(
        what="refund.reduced",
        subject=f"refund {refund.id}",
        order_id=refund.order_id,
        before=before,
        after={"amount": refund.amount, "card_amount": refund.card_amount},
        detail=f"{by} {why}",
    )
