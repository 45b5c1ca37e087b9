"""What the journal notes about a charge at a gateway: once, however often it is found."""

from django.db.models import Model, QuerySet

from foundation import journal
from foundation.models import JournalLine
from foundation.values import GivenValues
from payments.models import Payment, Reconciliation


def noted(payment: Payment | None, what: str, *, reference: str) -> "QuerySet[JournalLine]":
    """The journal's lines on this about the payment, or about a charge without one; the first one first."""
    subject, reference = _found_by(payment, reference)
    return JournalLine.objects.filter(subject=subject, what=what, reference=reference).order_by("id")


def note_once(
    payment: Payment | None,
    what: str,
    detail: str,
    *,
    reference: str,
    after: GivenValues | None = None,
    is_internal: bool = True,
) -> bool:
    """Note this about the gateway's charge, once for the reference and `after`; returns whether it is new.

    A lock lets a second process see the line of the first. Charges without a payment are found by
    comparisons alone, so the newest of these is locked for them.
    """
    if payment:
        # The order comes before its payments in the lock order; a top-up has none.
        row: Model = payment.order or payment
        type(row)._base_manager.select_for_update().only("pk").get(pk=row.pk)
    else:
        Reconciliation.objects.select_for_update().only("id").order_by("-id").first()
    if any(line.after == after for line in noted(payment, what, reference=reference)):
        return False
    subject, reference = _found_by(payment, reference)
    journal.note(
        what=what,
        subject=subject,
        order_id=payment.order_id if payment else None,
        after=after,
        detail=detail,
        reference=reference,
        is_internal=is_internal,
    )
    return True


def _found_by(payment: Payment | None, reference: str) -> tuple[str, str]:
    """The subject and reference of a line about the charge, as long as the journal's columns take."""
    reference = reference[:96]
    return f"payment {payment.id}" if payment else f"charge {reference}", reference
