"""Orphaned charges, which landed after the shop gave their payments up: each is refunded once, whichever
processes find it.
"""

from collections.abc import Callable

from django.db.models import QuerySet
from structlog import get_logger

from payments import payment_states
from payments.gateways import gateway
from payments.gateways.contract import GatewayResult
from payments.models import Payment, Reconciliation
from shop.db import transactions
from shop.events import journal
from shop.models import JournalLine

log = get_logger(__name__)
LATE, LATE_REFUNDED = "charge.late", "charge.late_refunded"
RECORDERS: list[Callable[[Payment, int], None]] = []
"""Record a refund of a late charge, with the line of the journal about it."""


def refund_charge(charge: GatewayResult, payment: Payment | None) -> bool:
    """Refund what the gateway keeps of the charge, and note it in the journal. Returns whether it is done.

    The refund is keyed by the charge, what was refunded before and the amount, which is all that is left, so
    it happens once however many processes find it. `payment` is the one that ended without the charge, if
    there is one. Call it outside any transaction.
    """
    amount, before_amount = charge.kept_amount, charge.refunded_amount
    part = {"amount": amount} | ({"refunded_before_amount": before_amount} if before_amount else {})
    # The charge is noted first: if this process dies in the refund, `note_already_refunded` notes the rest.
    _note(LATE, charge.reference, part, payment)
    refunded = gateway().refund(
        key=f"orphan-{charge.reference}-{before_amount}-{amount}",
        charge_reference=charge.reference,
        amount=amount,
    )
    is_done = refunded.status == "succeeded"
    if is_done:
        _note(LATE_REFUNDED, charge.reference, part, payment)
    log.error(
        "orphaned charge",
        charge=charge.reference,
        payment=payment and str(payment.id),
        order=payment and payment.order_id and str(payment.order_id),
        amount=amount,
        is_refunded=is_done,
        said=refunded.failure_detail,
    )
    return is_done


def note_already_refunded(charge: GatewayResult, payment: Payment) -> None:
    """Note each refunded part of a late charge, where the process that refunded it died before it could."""
    for line in _journal_lines(LATE, charge.reference, payment):
        part = line.after
        if part and part.get("refunded_before_amount", 0) + part["amount"] <= charge.refunded_amount:
            _note(LATE_REFUNDED, charge.reference, part, payment)


def _note(what: str, charge_reference: str, part: dict[str, int], payment: Payment | None) -> None:
    """Write one line for each part of a charge: a lock lets a second process see the line of the first.

    Charges without a payment are found by comparisons alone, so the newest of these is locked for them.
    """

    def note_once() -> None:
        if payment:
            payment_states.lock_order(payment)
        else:
            Reconciliation.objects.select_for_update().only("id").order_by("-id").first()
        if any(line.after == part for line in _journal_lines(what, charge_reference, payment)):
            return
        done = ", and was refunded" if what == LATE_REFUNDED else ""
        journal.note(
            what=what,
            subject=_subject(charge_reference, payment),
            order_id=payment.order_id if payment else None,
            after=part,
            detail=f"{part['amount']} was charged after the payment had ended{done}.",
            reference=charge_reference,
            is_internal=what == LATE,
        )
        if payment and what == LATE_REFUNDED:
            for record in RECORDERS:
                record(payment, part["amount"])

    transactions.run(note_once, transactions.KEYED)


def _journal_lines(what: str, charge_reference: str, payment: Payment | None) -> "QuerySet[JournalLine]":
    subject = _subject(charge_reference, payment)
    lines = JournalLine.objects.filter(subject=subject, what=what, reference=charge_reference)
    return lines.order_by("id")


def _subject(charge_reference: str, payment: Payment | None) -> str:
    return f"payment {payment.id}" if payment else f"charge {charge_reference}"
