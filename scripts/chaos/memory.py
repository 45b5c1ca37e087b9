"""What a client remembers: each call it made, and the lasting answer it was given."""

from dataclasses import dataclass, field
from typing import Any

from scripts.chaos.calls import Answer, Call

RECORDED = {200, 201, 402}
"""Answers that had an effect, or name one: those of a keyed call are repeated for good."""
ACCEPTED = {"refund"}
"""Calls whose 202 lasts: it names what has begun, and how that ends is to be looked up."""


@dataclass(slots=True)
class Deed:
    """One call with what it came to so far; most that were answered 202 are open still."""

    sort: str
    call: Call
    answer: Answer

    @property
    def is_open(self) -> bool:
        return self.answer.status == 202 and self.sort not in ACCEPTED

    @property
    def was_done(self) -> bool:
        return self.answer.status in RECORDED or (self.answer.status == 202 and self.sort in ACCEPTED)


@dataclass
class Account:
    """One account, its wallet before the storm, and all that was done in its name. One thread's own."""

    id: int
    token: str
    opening_amount: int = 0
    deeds: list[Deed] = field(default_factory=list)

    def done(self, sort: str) -> list[Deed]:
        return [deed for deed in self.deeds if deed.sort == sort and deed.was_done]

    def orders(self) -> dict[str, Any]:
        """The id of each order it was told of, with the status of the answer that told it."""
        told: dict[str, Any] = {}
        for deed in self.done("order"):
            order_id = deed.answer.body["order"] if deed.answer.status == 402 else deed.answer.body["id"]
            told[order_id] = deed
        return told

    def coupons(self) -> dict[str, Any]:
        """The coupons it was given, by code."""
        return {deed.answer.body["code"]: deed.answer.body for deed in self.done("coupon")}


@dataclass
class Shelf:
    """One product, and what was on hand before the storm."""

    id: int
    on_hand: int


@dataclass
class Stage:
    """What there was before the storm: the people, what they quarrel over, and a shelf that never empties."""

    staff: Account
    buyers: list[Account]
    campaigns: list[int]
    shelves: list[Shelf]
    plenty: Shelf

    def refunds(self) -> list[Any]:
        """Every refund that staff were told of."""
        return [deed.answer.body for deed in self.staff.done("refund")]
