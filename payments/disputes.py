"""Disputes of charges, as the gateway says: what they hold, what was lost, and what is shown of them.

A dispute changes from open to won or lost, and a lost one may still be won. A look-up that says less than is
known came too late, and changes nothing.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet

from payments import ledger
from payments.gateways.contract import GatewayDispute
from payments.models import Dispute, Payment
from shop import clock
from shop.db import open_transaction
from shop.events import journal
from shop.models import JournalLine

Status = Dispute.Status
OPENED, CLOSED, DISAGREES = "payment.disputed", "payment.dispute_closed", "charge.disagrees"
NEXT: dict[str, tuple[str, ...]] = {Status.OPEN: (Status.WON, Status.LOST), Status.LOST: (Status.WON,)}


def shown_dispute(disputes: Iterable[Dispute]) -> Dispute | None:
    """The one of a payment's disputes that it shows: the newest open one, or else the newest."""
    return max(disputes, key=lambda dispute: (dispute.status == Status.OPEN, dispute.pk), default=None)


def open_disputes() -> "QuerySet[Dispute]":
    """The disputes that await their end."""
    return Dispute.objects.filter(status=Status.OPEN)


def book(payment: Payment, found: Iterable[GatewayDispute]) -> None:
    """Record what has become of the payment's disputes. Its order must be locked, or a top-up itself."""
    open_transaction.assert_inside()
    known = {dispute.reference: dispute for dispute in Dispute.objects.filter(payment_id=payment.id)}
    for said in found:
        if said.currency != payment.currency or said.amount > payment.card_amount:
            text = f"A dispute of {said.amount} {said.currency} doesn't fit the charge"
            note_disagreement(payment, text, reference=said.reference)
            continue
        dispute = known.get(said.reference) or _open(payment, said)
        known[said.reference] = dispute
        if said.status in NEXT.get(dispute.status, ()):
            _close(payment, dispute, said)
        elif said.status == dispute.status == Status.OPEN and _terms(said) != _terms(dispute):
            dispute.amount, dispute.due_at = _terms(said)
            dispute.save(update_fields=["amount", "due_at"])


def note_disagreement(payment: Payment, text: str, *, reference: str) -> None:
    """Note once that the gateway's word on a charge doesn't fit its payment, so that nothing was booked."""
    lines = JournalLine.objects.filter(subject=f"payment {payment.id}", what=DISAGREES, reference=reference)
    if not lines.exists():
        journal.note(
            what=DISAGREES,
            subject=f"payment {payment.id}",
            order_id=payment.order_id,
            detail=f"{text} of {payment.card_amount} {payment.currency}: nothing was booked.",
            reference=reference,
            is_internal=True,
        )


def _terms(dispute: Dispute | GatewayDispute) -> tuple[int, datetime | None]:
    return dispute.amount, dispute.due_at


def _open(payment: Payment, said: GatewayDispute) -> Dispute:
    dispute = Dispute.objects.create(
        payment=payment,
        reference=said.reference,
        status=Status.OPEN,
        amount=said.amount,
        due_at=said.due_at,
        opened_at=clock.now(),
    )
    _note(OPENED, payment, dispute, f"{dispute.amount} disputed")
    return dispute


def _close(payment: Payment, dispute: Dispute, said: GatewayDispute) -> None:
    was_lost = dispute.status == Status.LOST
    dispute.status, dispute.closed_at = said.status, clock.now()
    if not was_lost:
        dispute.amount = said.amount
    dispute.save()
    if dispute.status == Status.LOST:
        ledger.lose_dispute(payment, dispute_id=dispute.pk, amount=dispute.amount)
    elif was_lost:
        ledger.recover_dispute(payment, dispute_id=dispute.pk)
    _note(CLOSED, payment, dispute, f"{dispute.amount} of a dispute {dispute.status}")


def _note(what: str, payment: Payment, dispute: Dispute, detail: str) -> None:
    journal.note(
        what=what,
        subject=f"payment {payment.id}",
        order_id=payment.order_id,
        after={
            "account": payment.account_id,
            "currency": payment.currency,
            "dispute": {"status": dispute.status, "amount": dispute.amount, "due_at": dispute.due_at},
        },
        detail=detail,
        reference=dispute.reference,
    )
