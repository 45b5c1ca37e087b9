"""The ledger's functions for many orders, called for one; payments, charged at the gateway and settled."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from foundation.errors import Rejected
from payments import audit, ledger, rows
from payments.gateways import gateway
from payments.models import Payment, Transfer


@dataclass(frozen=True, slots=True)
class Bought:
    """The part of an order that the ledger reads."""

    id: UUID
    account_id: int = 0
    points_amount: int = 0
    card_amount: int = 0
    currency: str = "KRW"


def hold_points(*, order_id: UUID, user_id: int, amount: int) -> Transfer | None:
    """The transfer that holds the points; raises a refusal."""
    return _unwrap(ledger.hold_points([Bought(order_id, user_id, points_amount=amount)]))


def settle_sale(*, order_id: UUID, points_amount: int, card_amount: int) -> Transfer | None:
    """The transfer that is the sale."""
    bought = Bought(order_id, points_amount=points_amount, card_amount=card_amount)
    return _unwrap(ledger.settle_sales([bought]))


def _unwrap(outcomes):
    [outcome] = outcomes
    if isinstance(outcome, Rejected):
        raise outcome
    return outcome


def release_points(*, order_id: UUID, user_id: int, amount: int) -> Transfer | None:
    """Release the points that were held for one order."""
    return _unwrap(ledger.release_points([Bought(order_id, user_id, points_amount=amount)]))


def credit_top_up(*, payment_id: UUID, user_id: int, amount: int) -> Transfer:
    """Credit the wallet with the charged amount of a top-up."""
    ledger.credit_top_ups([Payment(id=payment_id, account_id=user_id, card_amount=amount)])
    return Transfer.objects.get(kind=Transfer.Kind.TOP_UP, reference=str(payment_id))


def mark_succeeded(payment_id: UUID, *, charge_reference: str, at: datetime) -> bool:
    """Whether the payment has succeeded now, by this call or an earlier one."""
    moved = rows.mark_succeeded({payment_id: charge_reference}, at=at)
    return moved == 1 or Payment.objects.filter(id=payment_id, status=Payment.Status.SUCCEEDED).exists()


def charge(payment, *, token="tok_ok", amount: int | None = None, order_id: UUID | None = None) -> str:
    """Charge the payment's amount at the gateway, or another one; returns the charge's reference."""
    verdict = gateway().charge(
        key=payment.charge_key,
        token=token,
        amount=amount or payment.card_amount,
        currency=payment.currency,
        order_id=order_id or payment.order_id,
    )
    return verdict.reference


def settle(payment, status: str, reference="ch_1"):
    """Have the payment end so, whatever the gateway says."""
    now = timezone.now()
    with transaction.atomic():
        if status == "succeeded":
            assert mark_succeeded(payment.id, charge_reference=reference, at=now)
        else:
            assert rows.end_unpaid(payment.id, to=status, code="gave_up", detail="", at=now)


def broken_laws() -> list[str]:
    """The offenders of the payments' own audit."""
    return [offender for law in audit.audit() for offender in law.offenders]
