"""What the books do for many orders, done for one."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from payments import ledger, payment_states
from payments.models import Payment, Transfer
from shop.errors import Rejected


@dataclass(frozen=True, slots=True)
class Bought:
    """An order, as far as the books look at it."""

    id: UUID
    account_id: int = 0
    points_amount: int = 0
    card_amount: int = 0
    currency: str = "KRW"


def hold_points(*, order_id: UUID, user_id: int, amount: int) -> Transfer | None:
    """The transfer that holds them; raises the refusal."""
    return _told(ledger.hold_points([Bought(order_id, user_id, points_amount=amount)]))


def settle_sale(*, order_id: UUID, points_amount: int, card_amount: int) -> Transfer | None:
    """The transfer that is the sale."""
    bought = Bought(order_id, points_amount=points_amount, card_amount=card_amount)
    return _told(ledger.settle_sales([bought]))


def _told(outcomes: list[Transfer | Rejected | None]) -> Transfer | None:
    [outcome] = outcomes
    if isinstance(outcome, Rejected):
        raise outcome
    return outcome


def release_points(*, order_id: UUID, user_id: int, amount: int) -> Transfer | None:
    """Give the points that were held for one order back."""
    return _told(ledger.release_points([Bought(order_id, user_id, points_amount=amount)]))


def credit_top_up(*, payment_id: UUID, user_id: int, amount: int) -> Transfer:
    """Put into the wallet what the gateway charged for it."""
    ledger.credit_top_ups([Payment(id=payment_id, account_id=user_id, card_amount=amount)])
    return Transfer.objects.get(kind=Transfer.Kind.TOP_UP, reference=str(payment_id))


def mark_succeeded(payment_id: UUID, *, charge_reference: str, at: datetime) -> bool:
    """Whether the payment stands as succeeded now, by this call or an earlier one."""
    moved = payment_states.mark_all_succeeded({payment_id: charge_reference}, at=at)
    return moved == 1 or Payment.objects.filter(id=payment_id, status=Payment.Status.SUCCEEDED).exists()
