"""Disputes of charges, as the gateway says. One changes from open to won or lost, and a lost one may still be
won; a look-up that says less than is known came too late, and changes nothing.
"""

from collections.abc import Iterable, Mapping

from django.db.models import QuerySet, Sum

from foundation import clock, journal
from foundation.db import open_transaction
from foundation.db.rows import save_changes
from payments import ledger
from payments.gateways.contract import GatewayDispute, GatewayResult
from payments.models import Dispute, Payment, Transfer

Status = Dispute.Status
OPENED = "payment.disputed"
CLOSED = "payment.dispute_closed"
DISAGREES = "charge.disagrees"
NEXT: dict[str, tuple[str, ...]] = {Status.OPEN: (Status.WON, Status.LOST), Status.LOST: (Status.WON,)}


def shown_dispute(disputes: Iterable[Dispute]) -> Dispute | None:
    """The one of a payment's disputes that it shows: the newest open one, or else the newest."""
    return max(disputes, key=lambda dispute: (dispute.status == Status.OPEN, dispute.pk), default=None)


def open_disputes() -> "QuerySet[Dispute]":
    """The disputes that await their end."""
    return Dispute.objects.filter(status=Status.OPEN)


def amounts_of(charge_key: str) -> dict[str, int]:
    """The amounts of the disputes of the payment with this key, by their status."""
    rows = Dispute.objects.filter(payment__charge_key=charge_key).order_by().values_list("status")
    return dict(rows.annotate(total=Sum("amount")))


def held_amount(amounts: Mapping[str, int]) -> int:
    """What disputes of these amounts by status keep from the shop: those that are open or lost."""
    return amounts.get(Status.OPEN, 0) + amounts.get(Status.LOST, 0)


def book(payment: Payment, found: GatewayResult) -> None:
    """Record what has become of the disputes of the payment's charge. Its order must be locked, or a top-up
    itself.
    """
    open_transaction.assert_inside()
    known = {dispute.reference: dispute for dispute in Dispute.objects.filter(payment_id=payment.id)}
    for said in found.disputes:
        amount = found.disputed_amount(said)
        dispute = known.get(said.reference) or _open(payment, said, amount)
        known[said.reference] = dispute
        if said.status in NEXT.get(dispute.status, ()):
            _close(payment, dispute, said.status, amount)
        elif said.status == dispute.status == Status.OPEN:
            save_changes(dispute, amount=amount, due_at=said.due_at)


def _open(payment: Payment, said: GatewayDispute, amount: int) -> Dispute:
    dispute = Dispute.objects.create(
        payment=payment,
        reference=said.reference,
        status=Status.OPEN,
        amount=amount,
        due_at=said.due_at,
        opened_at=clock.now(),
    )
    is_same = (amount, payment.currency) == (said.amount, said.currency)
    part = "" if is_same else f": {amount} of this charge"
    _note(OPENED, payment, dispute, f"{said.amount}{' ' + said.currency if part else ''} disputed{part}")
    return dispute


def _close(payment: Payment, dispute: Dispute, status: str, amount: int) -> None:
    was_lost = dispute.status == Status.LOST
    dispute.status = status
    dispute.closed_at = clock.now()
    if not was_lost:
        dispute.amount = amount
    dispute.save()
    reference = f"dispute {dispute.pk}"
    if status == Status.LOST and amount:
        # It is taken from the shop's account at the gateway.
        ledger.reverse(payment, kind=Transfer.Kind.LOSS, reference=reference, amount=amount)
    elif was_lost:
        ledger.revoke(kind=Transfer.Kind.LOSS, reference=reference, ends=" won")
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
