"""The book: each call that a client made with its final answer, and what was there before the load."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lab.chaos.calls import Answer, Call

RECORDED = {200, 201, 402}
"""Answers that had an effect, or name one: those of a keyed call are repeated for good."""
ACCEPTED = {"refund", "entry"}
"""Calls whose 202 is final: it names what has begun, and how that ends is to be looked up."""
DECLINES = {"card_declined", "insufficient_funds", "authentication_failed", "authentication_expired"}
"""The gateway simulator's final refusals of a card."""


@dataclass(slots=True)
class RecordedCall:
    """One call with its latest answer, which may be 202 and open, and when the first one came."""

    sort: str
    call: Call
    answer: Answer
    answered_at: float = field(default_factory=time.time)

    @property
    def is_open(self) -> bool:
        return self.answer.status == 202 and self.sort not in ACCEPTED

    @property
    def was_done(self) -> bool:
        return self.answer.status in RECORDED or (self.answer.status == 202 and self.sort in ACCEPTED)

    @property
    def keeps_order(self) -> bool:
        """Whether the card was declined, and the order is kept for another one."""
        is_kept = self.answer.status == 402 and bool((self.call.body or {}).get("keep_on_decline"))
        return is_kept and (self.answer.body.get("failure") or {}).get("code") in DECLINES

    @property
    def order_id(self) -> str:
        """The order of an order's or a payment's answer; nothing for a top-up."""
        is_order = self.sort == "order" and self.answer.status != 402
        return str(self.answer.body["id" if is_order else "order"] or "")


@dataclass
class Account:
    """One account, its wallet before the load, and all calls made for it. One thread's own."""

    id: int
    token: str
    opening_amount: int = 0
    calls: list[RecordedCall] = field(default_factory=list)
    shared_codes: dict[str, int] = field(default_factory=dict)
    """The setup's own."""

    def done(self, sort: str) -> list[RecordedCall]:
        return [made for made in self.calls if made.sort == sort and made.was_done]

    def orders(self) -> dict[str, RecordedCall]:
        """The id of each order in its answers, with the call that was answered."""
        return {made.order_id: made for made in self.done("order")}

    def payments(self) -> dict[str, list[RecordedCall]]:
        """By the id of the order, the calls that paid it and were answered for good."""
        found: dict[str, list[RecordedCall]] = {}
        paid = [made for made in self.orders().values() if "payment" in made.call.body]
        for made in [*paid, *self.done("payment")]:
            found.setdefault(made.order_id, []).append(made)
        return found

    def coupons(self) -> dict[str, Any]:
        """The coupons in its answers, by code; of those that orders were given the campaign alone."""
        of_orders = {
            made.answer.body["coupon"]: {"campaign": self.shared_codes[made.call.body["coupon"]]}
            for made in self.done("order")
            if made.call.body.get("coupon") in self.shared_codes
        }
        return of_orders | {made.answer.body["code"]: made.answer.body for made in self.done("coupon")}


@dataclass
class Product:
    """One product, and what was on hand before the load."""

    id: int
    on_hand: int


@dataclass
class Drop:
    """A sale with a waiting room, and its only product, of which there is plenty."""

    id: int
    product: Product


@dataclass
class AtGateway:
    """What was refunded of an order at the gateway itself, how much of it an operator took for refunds of the
    shop, and the amounts of its disputes there, by id."""

    refunded_amount: int = 0
    replaced_amount: int = 0
    lost_amount: int = 0
    open_disputes: dict[str, int] = field(default_factory=dict)


@dataclass
class Setup:
    """What there was before the load, and what clients did that is in no answer of the shop: `at_gateway` by
    order what came of refunds and disputes at the gateway itself, with `shown_refunds` as the shop has them,
    whose answers may have been too early; of operators `granted`, the account and amount that each reason was
    sent with, `pressed`, what each approval may have become, and `operator_grants`, what accounts got of it.

    `ample` never sells out. With the gateway's port buyers also pay by a card that asks its owner and keep
    orders on a decline, and charges are also refunded and disputed at the gateway. `listed` are the accounts
    of each campaign that is for a list.
    """

    staff: Account
    buyers: list[Account]
    campaigns: list[int]
    products: list[Product]
    ample: Product
    drop: Drop | None = None
    gateway_port: int | None = None
    shared_codes: dict[str, int] = field(default_factory=dict)
    listed: dict[int, set[int]] = field(default_factory=dict)
    at_gateway: dict[str, AtGateway] = field(default_factory=dict)
    shown_refunds: dict[str, list[Any]] = field(default_factory=dict)
    granted: dict[str, tuple[int, int]] = field(default_factory=dict)
    pressed: dict[int, set[str]] = field(default_factory=dict)
    operator_grants: Counter[int] = field(default_factory=Counter)

    @property
    def calls(self) -> list[RecordedCall]:
        return [made for account in (self.staff, *self.buyers) for made in account.calls]

    @property
    def stocked(self) -> list[Product]:
        """Every product that the load buys."""
        return [*self.products, self.ample, *([self.drop.product] if self.drop else [])]

    def refunds(self) -> list[Any]:
        """Every refund in the answers to staff; of orders refunded at the gateway, those that are shown."""
        answered = [made.answer.body for made in self.staff.done("refund")]
        own = [refund for refund in answered if refund["order"] not in self.shown_refunds]
        return own + [refund for shown in self.shown_refunds.values() for refund in shown]
