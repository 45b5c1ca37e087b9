"""Charges that nobody should have paid: given back, once each, whoever finds them.

A payment may have been given up while the gateway was still at it; its charge then lands too late, and
belongs to nobody. A webhook or a reconciliation finds it, or both at the same moment.
"""

from django.db.models import QuerySet
from structlog import get_logger

from payments.gateways import gateway
from payments.models import Payment
from shop.db import transactions
from shop.events import journal
from shop.models import JournalLine

log = get_logger(__name__)
LATE, LATE_REFUNDED = "charge.late", "charge.late_refunded"


def refund_charge(*, charge_reference: str, amount: int, payment: Payment | None) -> bool:
    """Refund what the gateway keeps of the charge, and say so in the journal. Returns whether it is done.

    Keyed by the charge, so it happens once however many find it, now or later. `payment` is the one that
    ended without it, if any knows of it. Call it outside any transaction.
    """
    # First that it came: should this process die over the refund, `note_already_refunded` notes the rest.
    transactions.run(lambda: _note_once(LATE, charge_reference, amount, payment), transactions.KEYED)
    refunded = gateway().refund(
        key=f"orphan-{charge_reference}", charge_reference=charge_reference, amount=amount
    )
    is_done = refunded.status == "succeeded"
    if is_done:
        transactions.run(
            lambda: _note_once(LATE_REFUNDED, charge_reference, amount, payment), transactions.KEYED
        )
    log.error(
        "a charge that nobody should have paid",
        charge=charge_reference,
        payment=payment and str(payment.id),
        amount=amount,
        is_refunded=is_done,
        said=refunded.failure_detail,
    )
    return is_done


def note_already_refunded(*, charge_reference: str, payment: Payment) -> None:
    """The gateway keeps nothing of the charge: note it, if it came late and whoever refunded it could not."""
    line = _journal_lines(LATE, charge_reference, payment).first()
    if line and line.after:
        amount = line.after["amount"]
        transactions.run(
            lambda: _note_once(LATE_REFUNDED, charge_reference, amount, payment), transactions.KEYED
        )


def _note_once(what: str, charge_reference: str, amount: int, payment: Payment | None) -> None:
    """One line a charge: with the payment locked, whoever comes second sees the first one's."""
    if payment:
        Payment.objects.select_for_update().only("id").get(id=payment.id)
    if _journal_lines(what, charge_reference, payment).exists():
        return
    done = ", and given back" if what == LATE_REFUNDED else ""
    journal.note(
        what=what,
        subject=_subject(charge_reference, payment),
        order_id=payment.order_id if payment else None,
        after={"amount": amount},
        detail=f"{amount} was charged after the payment had ended{done}.",
        reference=charge_reference,
        is_internal=what == LATE,
    )


def _journal_lines(what: str, charge_reference: str, payment: Payment | None) -> "QuerySet[JournalLine]":
    subject = _subject(charge_reference, payment)
    return JournalLine.objects.filter(subject=subject, what=what, reference=charge_reference)


def _subject(charge_reference: str, payment: Payment | None) -> str:
    return f"payment {payment.id}" if payment else f"charge {charge_reference}"
