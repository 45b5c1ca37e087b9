"""Charges that nobody should have paid: given back, once each, whoever finds them.

A payment may have been given up while the gateway was still at it; its charge then lands too late, and
belongs to nobody. A webhook or a reconciliation finds it, or both at the same moment.
"""

from structlog import get_logger

from payments.gateways import gateway
from payments.models import Payment
from shop import journal, transactions
from shop.models import JournalLine

log = get_logger(__name__)
LATE_REFUNDED = "charge.late_refunded"


def give_back(*, charge_reference: str, amount: int, payment: Payment | None) -> bool:
    """Refund what the gateway keeps of the charge, and say so in the journal. Returns whether it is done.

    Keyed by the charge, so it happens once however many find it, now or later. `payment` is the one that
    ended without it, if any knows of it. Call it outside any transaction.
    """
    refunded = gateway().refund(
        key=f"orphan-{charge_reference}", charge_reference=charge_reference, amount=amount
    )
    is_done = refunded.status == "succeeded"
    if is_done:
        transactions.run(lambda: _note(charge_reference, amount, payment))
    log.error(
        "a charge that nobody should have paid",
        charge=charge_reference,
        payment=payment and str(payment.id),
        amount=amount,
        is_refunded=is_done,
        said=refunded.failure_detail,
    )
    return is_done


def _note(charge_reference: str, amount: int, payment: Payment | None) -> None:
    """One line a charge: with the payment locked, whoever comes second sees the first one's."""
    subject = f"payment {payment.id}" if payment else f"charge {charge_reference}"
    if payment:
        Payment.objects.select_for_update().only("id").get(id=payment.id)
    lines = JournalLine.objects.filter(subject=subject, what=LATE_REFUNDED, reference=charge_reference)
    if lines.exists():
        return
    journal.note(
        what=LATE_REFUNDED,
        subject=subject,
        order_id=payment.order_id if payment else None,
        after={"amount": amount},
        detail=f"{amount} was charged after the payment had ended, and given back.",
        reference=charge_reference,
    )
