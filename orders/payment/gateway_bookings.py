"""Books refunds and disputes that began at the gateway: from events, look-ups and reconciliations.

What the shop's own refunds of a charge don't account for, settled or under way, was refunded there, and is
booked as a refund by amount: once, however many look-ups see it and in whatever order. Refunds that failed
after they had succeeded are taken back.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet, Sum
from django.utils.translation import gettext_noop
from structlog import get_logger

from foundation import clock, journal
from foundation.db import transactions
from foundation.db.rows import save_changes
from orders import pricing
from orders.models import Order, Refund, RefundLine
from orders.payment import refund_records
from payments import charge_notes, disputes, gateways, ledger, rows as payment_rows
from payments.gateways.contract import GatewayResult
from payments.models import GATEWAY_CLEARING, Payment, Transfer

log = get_logger(__name__)
REASON = gettext_noop("Refunded at the gateway.")
LATE = gettext_noop("The charge succeeded after its payment had ended.")


class Booked(NamedTuple):
    """What is booked of a charge's refunds, as it was before the gateway was asked: the amounts that are
    refunded and about to be, and how many refunds have failed. What the gateway says is compared with it.
    """

    refunded_amount: int
    refunding_amount: int
    failed: int


class LookUpResult(NamedTuple):
    """Whether all that `found`, what the gateway says, has of a charge is booked; the outcome in words."""

    is_booked: bool
    outcome: str
    found: GatewayResult


def look_up(payment: Payment) -> LookUpResult:
    """Ask the gateway about the payment's charge, outside a transaction, and book what is new of it."""
    before = transactions.read(partial(read_booked, payment.id))
    found = gateways.of(payment.books).find(key=payment.charge_key)
    if found.status != "succeeded":
        return LookUpResult(False, f"the gateway says {found.status}", found)
    is_booked, outcome = book(payment.id, found, before=before)
    return LookUpResult(is_booked, outcome, found)


def read_booked(payment_id: UUID) -> Booked:
    payment = Payment.objects.get(id=payment_id)
    failed = _refunds_in_ledger(payment).filter(reference__endswith=refund_records.FAILED)
    return Booked(payment.refunded_amount, payment.refunding_amount, failed.count())


def book(payment_id: UUID, found: GatewayResult, *, before: Booked) -> tuple[bool, str]:
    """Book what is new of a succeeded charge, outside a transaction; returns whether all is booked
    now, and the outcome in words. `before` was read before the gateway was asked.
    """
    kept: dict[UUID, bool] | None = {}
    if before.refunded_amount and found.refunded_amount < before.refunded_amount + before.refunding_amount:
        payment = Payment.objects.get(id=payment_id)
        kept = _ask_about_refunds(payment)
        # Asked once more: this answer is later than any failure that it told of.
        found = gateways.of(payment.books).find(key=payment.charge_key)
    if kept is None or found.status != "succeeded":
        return False, "the gateway says unknown"
    return transactions.run(partial(_book, payment_id, found, before, kept), transactions.REPEATABLE)


def _ask_about_refunds(payment: Payment) -> dict[UUID, bool] | None:
    """Whether the gateway has kept to the shop's own refunds that are settled; None without an answer."""
    refunds = Refund.objects.filter(order=payment.order_id, status=Refund.Status.SUCCEEDED).in_bulk()
    kept: dict[UUID, bool] = {}
    for refund, key, made in refund_records.read_calls(refunds):
        found = gateways.of(payment.books).find_refund(key=key, charge_reference=payment.charge_reference)
        if found.status == "unknown":
            return None
        # One that an operator confirmed has another id, or none.
        if found.reference and found.reference == made.reference:
            kept[refund.id] = found.status != "declined"
    return kept


def record_late_refund(payment: Payment, amount: int, has_failed: bool) -> None:
    """Record the refund of a charge that succeeded after its payment had ended, or that such a one failed:
    nothing of it was booked.
    """
    if payment.order_id is None:
        return
    if has_failed:
        late = Refund.objects.filter(
            order=payment.order_id,
            source=Refund.Source.LATE_CHARGE,
            amount=amount,
            status=Refund.Status.SUCCEEDED,
        )
        if failed := late.order_by("-id").first():
            save_changes(failed, status=Refund.Status.FAILED, failed_at=clock.now())
        return
    refund = _build_refund(payment.order_id, amount, source=Refund.Source.LATE_CHARGE, reason=LATE)
    refund.status = Refund.Status.SUCCEEDED
    refund.settled_at = refund.created_at
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
        reduce(refund, by=excess, why="was given back or lost at the gateway already")
    if unknown_amount:
        _book_refund(refund.order, unknown_amount)


def reduce(refund: Refund, *, by: int, why: str) -> None:
    """Refund less, by another key: the gateway has less left of the charge, or refuses the rest. The order
    must be locked.
    """
    before = {"amount": refund.amount, "card_amount": refund.card_amount}
    save_changes(refund, amount=refund.amount - by, card_amount=refund.card_amount - by, is_reduced=True)
    lines = list(refund.lines.order_by("id"))
    amounts = pricing.fit_amounts([line.amount for line in lines], refund.amount)
    for line, amount in zip(lines, amounts, strict=True):
        line.amount = amount
    RefundLine.objects.bulk_update(lines, ["amount"])
    payment_rows.change_refunds(refund.order_id, refunding=-by)
    journal.note(
        what="refund.reduced",
        subject=f"refund {refund.id}",
        order_id=refund.order_id,
        before=before,
        after={"amount": refund.amount, "card_amount": refund.card_amount},
        detail=f"{by} {why}",
    )


def _book(
    payment_id: UUID, found: GatewayResult, before: Booked, kept: Mapping[UUID, bool]
) -> tuple[bool, str]:
    payment = Payment.objects.get(id=payment_id)
    order = payment.order_id and Order.objects.select_for_update().get(id=payment.order_id)
    # Read again under the order's lock, which everything takes that books refunds; a top-up has its own.
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.status != Payment.Status.SUCCEEDED:
        return False, f"the payment is {payment.status}"
    if not _agrees(payment, found):
        return True, "refused: the charge is not the payment's"
    disputes.book(payment, found)
    now = read_booked(payment_id)
    if now.failed != before.failed:
        # What the gateway said may be older than that.
        return False, "a refund has failed meanwhile"
    missing_amount = payment.refunded_amount - found.refunded_amount
    is_current = now == before and not payment.refunding_amount
    if order:
        # Those that the payment counts as refunded, the newest first.
        settled = order.refunds.filter(status=Refund.Status.SUCCEEDED, card_amount__gt=0)
        refunds = list(settled.exclude(source=Refund.Source.LATE_CHARGE).order_by("-id"))
        # Of books that don't add up none is taken for failed: the comparison reports them.
        is_current &= sum(one.card_amount for one in refunds) == payment.refunded_amount
        _take_back(order, refunds, missing_amount, kept, is_current=is_current)
        payment.refresh_from_db(fields=["refunded_amount"])
    elif is_current and missing_amount > 0:
        _take_back_of_top_up(payment, missing_amount)
    unknown_amount = found.refunded_amount - payment.refunded_amount - payment.refunding_amount
    if unknown_amount > 0:
        if order:
            _book_refund(order, unknown_amount)
        else:
            _book_refund_of_top_up(payment, unknown_amount, number=now.failed)
    payment.refresh_from_db(fields=["refunded_amount"])
    if found.refunded_amount > payment.refunded_amount:
        return False, "a refund of the shop is under way"
    return True, f"the payment is succeeded, {payment.refunded_amount} is refunded"


def _take_back(
    order: Order,
    refunds: Sequence[Refund],
    missing_amount: int,
    kept: Mapping[UUID, bool],
    *,
    is_current: bool,
) -> None:
    """Take back what has failed of the locked order's refunds, as the gateway says.

    Of those that were made there by hand, about which it can't be asked, that is the one of the missing
    amount, or all of them; otherwise none is taken back, and the comparison goes on reporting it.
    """
    failed = [one for one in refunds if kept.get(one.id) is False]
    missing_amount -= sum(one.card_amount for one in failed)
    if is_current and missing_amount > 0:
        by_hand = [one for one in refunds if one.id not in kept]
        same = [one for one in by_hand if one.card_amount == missing_amount][:1]
        failed += same or (by_hand if sum(one.card_amount for one in by_hand) == missing_amount else [])
    for refund in failed:
        refund_records.take_back(order, refund)
        log.error("a refund failed", refund=refund.id, order=order.id, amount=refund.card_amount)


def _agrees(payment: Payment, found: GatewayResult) -> bool:
    """Whether the charge is the payment's; otherwise that is noted, and nothing may be booked of it."""
    if payment.expected_charge.is_met_by(found):
        return True
    charge_notes.note_once(
        payment,
        disputes.DISAGREES,
        f"The gateway has a charge of {found.amount} {found.currency} instead of {payment.card_amount} "
        f"{payment.currency}: nothing was booked.",
        reference=found.reference,
    )
    return False


def _book_refund(order: Order, amount: int) -> None:
    """Book what the gateway has given back, without goods: by amount, or all that is left with its units."""
    under_way = Refund.objects.filter(order_id=order.id, status__in=refund_records.UNSETTLED)
    taken_amount = order.refunded_amount + (under_way.aggregate(total=Sum("amount"))["total"] or 0)
    is_rest = taken_amount + amount >= order.total_amount
    lines = order.lines.order_by("id") if is_rest else ()
    counts = [(line, left) for line in lines if (left := line.left_quantity)]
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


def _book_refund_of_top_up(payment: Payment, amount: int, *, number: int) -> None:
    save_changes(payment, refunded_amount=payment.refunded_amount + amount)
    # The same amount may be refunded once more, after so many failures.
    reference = f"{payment.id} {payment.refunded_amount}" + (f" {number}" if number else "")
    ledger.reverse(payment, kind=Transfer.Kind.REFUND, reference=reference, amount=amount)
    _note_refund_of_top_up(payment, "payment.refunded", f"{amount} refunded at the gateway")


def _take_back_of_top_up(payment: Payment, amount: int) -> None:
    """Give back the points that a refund of this amount took, if there is one."""
    refunds = _refunds_in_ledger(payment)
    ends = refund_records.FAILED
    failed = [one.reference.removesuffix(ends) for one in refunds if one.reference.endswith(ends)]
    same = refunds.filter(entries__account=GATEWAY_CLEARING, entries__amount=amount)
    if taken := same.exclude(reference__in=failed).order_by("-id").first():
        save_changes(payment, refunded_amount=payment.refunded_amount - amount)
        ledger.revoke(kind=Transfer.Kind.REFUND, reference=taken.reference, ends=ends)
        _note_refund_of_top_up(
            payment, "payment.refund_failed", f"{amount} of a refund came back to the shop"
        )


def _note_refund_of_top_up(payment: Payment, what: str, detail: str) -> None:
    journal.note(
        what=what,
        subject=f"payment {payment.id}",
        after={"refunded_amount": payment.refunded_amount},
        detail=detail,
        reference=payment.charge_reference,
    )


def _refunds_in_ledger(payment: Payment) -> "QuerySet[Transfer]":
    theirs = Q(order=payment.order_id) if payment.order_id else Q(reference__startswith=f"{payment.id} ")
    return Transfer.objects.filter(theirs, kind=Transfer.Kind.REFUND)
