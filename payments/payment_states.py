"""Payments and their transitions, by the table of `payments.transitions`. Each transition is a guarded update
inside the caller's transaction, so of two processes that end a payment one wins; it returns whether the
payment now has the requested state.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Model, Q, QuerySet
from uuid_utils.compat import uuid7

from foundation import clock, journal
from foundation.db import open_transaction, transactions
from foundation.models import JournalLine
from payments import gateways
from payments.gateways.contract import Books, ExpectedCharge
from payments.models import Payment, Reconciliation
from payments.transfers import Payable
from payments.transitions import SOURCES, UNSETTLED, Status

NAMED_AT_ONCE = 1_000
MOST_PER_ORDER = 5
"""How many payments an order may have, one after the other."""


def new_payment(*, at: datetime, order: Payable | None = None, **fields: Any) -> Payment:
    """An unsaved payment of an order, or without one a top-up, at the gateway of new payments for good."""
    if order:
        copied = ("account_id", "points_amount", "card_amount", "currency")
        fields |= {"order_id": order.id} | {name: getattr(order, name) for name in copied}
    payment_id = uuid7()
    fields |= gateways.current_books()._asdict()
    return Payment(id=payment_id, charge_key=f"payment-{payment_id}", created_at=at, **fields)


def name_gateways() -> None:
    """Have payments that the release before started be at the gateway of new payments for good, but those
    that are locked: the next call names them.
    """
    unnamed = Payment.objects.filter(gateway="")
    now = gateways.current_books()._asdict()

    def name_some() -> int:
        free = unnamed.select_for_update(skip_locked=True).values_list("id", flat=True)
        return unnamed.filter(id__in=list(free[:NAMED_AT_ONCE])).update(**now)

    while transactions.run(name_some, transactions.REPEATABLE):
        pass


def are_in(books: Books) -> Q:
    """The condition for payments that are in these books."""
    named = Q(**books._asdict())
    return named | Q(gateway="") if books == gateways.current_books() else named


def known_books() -> set[Books]:
    """The books that payments are in by name."""
    found = Payment.objects.exclude(gateway="").values_list("gateway", "gateway_account").distinct()
    return {Books(*row) for row in found}


def expected_charge(payment: Payment) -> ExpectedCharge:
    order = str(payment.order_id) if payment.order_id else None
    return ExpectedCharge(payment.charge_key, payment.card_amount, payment.currency, order, payment.books)


def mark_in_doubt(payment_id: UUID) -> bool:
    """The gateway gave no answer: the charge may have happened."""
    return _transition(payment_id, to=Status.IN_DOUBT)


def require_action(payment_id: UUID, *, url: str, expires_at: datetime) -> bool:
    """The card's owner must act at this address until then; whether the payment waits for that now. One in
    doubt is pending again: the gateway is known to wait.
    """
    open_transaction.assert_inside()
    if expires_at <= clock.now():
        return False
    found = Payment.objects.filter(id=payment_id, status__in=UNSETTLED)
    return bool(found.update(status=Status.PENDING, action_url=url, action_expires_at=expires_at))


def end_action(payment_id: UUID) -> None:
    """Nothing is left to do for the card's owner. When the action would have ended stays recorded."""
    open_transaction.assert_inside()
    Payment.objects.filter(id=payment_id).exclude(action_url="").update(action_url="")


def with_action() -> Q:
    """The condition for payments that wait for the card's owner now; their status has no index."""
    return Q(status=Status.PENDING, action_expires_at__gt=clock.now()) & ~Q(action_url="")


def end_unpaid(payment_id: UUID, *, to: str, code: str, detail: str, at: datetime, **fields: Any) -> bool:
    """End the payment because of `code`: `failed` with nothing charged, or `reversed` after its charge. The
    card's token and the address of its owner's page are deleted.
    """
    return _transition(
        payment_id,
        to=to,
        token="",
        action_url="",
        failure_code=code,
        failure_detail=detail[:255],
        settled_at=at,
        **fields,
    )


def unsettled_references(references: Collection[UUID], at: datetime) -> set[UUID]:
    """Those of these orders and payments whose payment had not settled at that instant."""
    found = Payment.objects.filter(Q(id__in=references) | Q(order_id__in=references))
    open_then = found.exclude(settled_at__lte=at).values_list("id", "order_id")
    return {id for pair in open_then for id in pair if id} & set(references)


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
    after: Mapping[str, Any] | None = None,
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


def change_refunds(order_id: UUID, *, refunding: int, refunded: int = 0) -> None:
    """Add these amounts, which may be below 0, to what is being refunded of the order's card amount, and to
    what is refunded. The order must be locked.

    The payment stays `succeeded` even when all of it is refunded: refunds have rows of their own.
    """
    open_transaction.assert_inside()
    refunding_amount = F("refunding_amount")
    refunded_amount = F("refunded_amount")
    found = Payment.objects.filter(
        order_id=order_id,
        status=Status.SUCCEEDED,
        refunding_amount__gte=-refunding,
        card_amount__gte=refunding_amount + refunded_amount + max(0, refunding + refunded),
    )
    if not found.update(
        refunding_amount=refunding_amount + refunding, refunded_amount=refunded_amount + refunded
    ):
        raise RuntimeError(f"The payment of order {order_id} can't be refunded that much.")


def _transition(payment_id: UUID, *, to: str, **fields: Any) -> bool:
    """Whether the payment is now in the state `to`, by this call or an earlier one."""
    open_transaction.assert_inside()
    found = Payment.objects.filter(id=payment_id)
    if found.filter(status__in=SOURCES[to]).update(status=to, **fields):
        return True
    return found.filter(status=to).exists()
