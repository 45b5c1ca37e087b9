"""What transfers write, by double entry: amounts that sum to zero, and wallets that never fall below it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from foundation.errors import Rejected
from foundation.lazy_texts import mark

# The ids of the shop's own accounts. A wallet has the number of its user.
HOLDING = -1
SALES = -2
GATEWAY_CLEARING = -3
PROMOTIONS = -4
Amounts = Mapping[int, int]
"""Points by the number of an account."""


class Payable(Protocol):
    """The part of an order that its payments and transfers read."""

    @property
    def id(self) -> UUID: ...
    @property
    def account_id(self) -> int: ...
    @property
    def points_amount(self) -> int: ...
    @property
    def card_amount(self) -> int: ...
    @property
    def currency(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A requested transfer. `amounts` are signed, by account id: a positive amount is credited. `by` is the
    actor that the journal names.
    """

    kind: str
    reference: str
    amounts: Amounts
    order_id: UUID | None = None
    reason: str = ""
    by: Any = None

    @property
    def name(self) -> tuple[str, str]:
        """What identifies the transfer."""
        return self.kind, self.reference


class NewTransfer(NamedTuple):
    """A transfer to write, and the balances of its wallets after it."""

    proposal: Proposal
    balances: Amounts


def held(order: Payable) -> Amounts:
    """The order's points go from its wallet to those that are held."""
    return {order.account_id: -order.points_amount, HOLDING: order.points_amount}


def released(order: Payable) -> Amounts:
    return {HOLDING: -order.points_amount, order.account_id: order.points_amount}


def sold(order: Payable) -> Amounts:
    """The order's held points and its card amount become a sale."""
    return {
        HOLDING: -order.points_amount,
        GATEWAY_CLEARING: -order.card_amount,
        SALES: order.points_amount + order.card_amount,
    }


def taken_back(amount: int, *, wallet_id: int, balance_amount: int) -> Amounts:
    """So much of a top-up goes back to the gateway; what the wallet lacks counts as given away."""
    taken_amount = min(balance_amount, amount)
    return {GATEWAY_CLEARING: amount, PROMOTIONS: taken_amount - amount, wallet_id: -taken_amount}


def check_balanced(proposals: Iterable[Proposal]) -> None:
    """Raise `ValueError` for amounts that don't sum to zero, or move nothing."""
    for proposal in proposals:
        if sum(proposal.amounts.values()) or not any(proposal.amounts.values()):
            raise ValueError(f"{proposal.kind} {proposal.reference} must move something, and sum to zero.")


def decide(
    proposals: Iterable[Proposal], known: Collection[tuple[str, str]], balances: Amounts
) -> list[NewTransfer | Rejected | None]:
    """What becomes of each, in the given order, with these balances of wallets; None for a transfer that is
    known, by its name, or comes before. Raises `ValueError` for a credit to a wallet that is not open.
    """
    seen = set(known)
    left = dict(balances)
    outcomes: list[NewTransfer | Rejected | None] = []
    for proposal in proposals:
        if proposal.name in seen:
            outcomes.append(None)
        elif refusal := _refusal(proposal, left):
            outcomes.append(refusal)
        else:
            seen.add(proposal.name)
            after = {id: left[id] + part for id, part in proposal.amounts.items() if id in left}
            left |= after
            outcomes.append(NewTransfer(proposal, after))
    return outcomes


def _refusal(proposal: Proposal, balances: Amounts) -> Rejected | None:
    for id, amount in proposal.amounts.items():
        if id > 0 and amount > 0 and id not in balances:
            raise ValueError(f"The wallet of user {id} isn't open.")
        if id > 0 and balances.get(id, 0) + amount < 0:
            return Rejected(mark("The wallet holds fewer points than that."), code="insufficient_points")
    return None
