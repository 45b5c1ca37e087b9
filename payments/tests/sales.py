"""What the books do for many orders, done for one."""

from dataclasses import dataclass
from uuid import UUID

from payments import ledger
from payments.models import Transfer
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
    return _told(ledger.hold_points_of([Bought(order_id, user_id, points_amount=amount)]))


def settle_sale(*, order_id: UUID, points_amount: int, card_amount: int) -> Transfer | None:
    """The transfer that is the sale."""
    bought = Bought(order_id, points_amount=points_amount, card_amount=card_amount)
    return _told(ledger.settle_sales([bought]))


def _told(outcomes: list[Transfer | Rejected | None]) -> Transfer | None:
    [outcome] = outcomes
    if isinstance(outcome, Rejected):
        raise outcome
    return outcome
