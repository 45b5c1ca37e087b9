"""The ledger's functions for many orders, called for one."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from payments import ledger, payment_states
from payments.models import Payment, Transfer
from shop.errors import Rejected


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


def _unwrap(outcomes: list[Transfer | Rejected | None]) -> Transfer | None:
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
    moved = payment_states.mark_all_succeeded({payment_id: charge_reference}, at=at)
    return moved == 1 or Payment.objects.filter(id=payment_id, status=Payment.Status.SUCCEEDED).exists()
