"""The objects of the model of a shop: products, coupons, orders, refunds, disputes, top-ups, approvals."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Cards that are declined at once, cards that never get a reply, and all that are never charged.
DECLINED = ("tok_declined", "tok_insufficient_funds")
UNKNOWN_FOR_EVER = ("tok_error", "tok_timeout_lost")
NEVER_CHARGED = (*DECLINED, *UNKNOWN_FOR_EVER)
# The card that asks its owner.
ASKING = "tok_3ds"


@dataclass(eq=False)
class Product:
    """A product and its stock."""

    id: int
    price: int
    on_hand: int
    limit_per_account: int | None = None
    reserved: int = 0

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


@dataclass(eq=False)
class Campaign:
    """A campaign whose orders name the shared code, with these terms, and `listed` if they say so."""

    code: str
    terms: dict[str, Any] = field(default_factory=dict)
    listed: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Coupon:
    """The account's, of `amount` or `percent`, from `minimum_amount` on; of a shared code `new` at first."""

    account_id: int
    code: str = ""
    campaign: Campaign | None = None
    amount: int = 0
    percent: int = 0
    minimum_amount: int = 0
    status: str = "issued"
    order_id: Any = None

    def give_back(self):
        self.status, self.order_id = "issued", None

    def counted_amount(self, counts: dict[Product, int]) -> int:
        """The amount of the lines that the discount counts over."""
        ids = self.campaign.terms.get("products") if self.campaign else None
        return sum(one.price * count for one, count in counts.items() if not ids or one.id in ids)

    def discount_amount(self, counts: dict[Product, int]) -> int:
        counted = self.counted_amount(counts)
        return min(counted, self.amount or counted * self.percent // 100)


@dataclass(eq=False)
class Order:
    """An order, what it holds, and its possible outcomes.

    `is_kept`: a refused card leaves it to be paid with another one. `decision` is that of the card's owner,
    if they are asked; `is_action_over`: they may not decide any more. `is_forced`: an operator has its
    payment compensated. `given_back` is what the gateway's clerk has refunded of its charge.
    """

    account_id: int
    counts: dict[Product, int]
    coupon: Coupon | None
    points_amount: int
    token: str | None
    total_amount: int = 0
    id: Any = None
    status: str = "awaiting_payment"
    payment_id: Any = None
    saga_id: Any = None
    is_lapsed: bool = False
    is_late: bool = False
    is_short_of_points: bool = False
    holds_points: bool = False
    is_kept: bool = False
    decision: str = ""
    is_action_over: bool = False
    payments: int = 0
    is_forced: bool = False
    given_back: int = 0
    refunds: list["Refund"] = field(default_factory=list)
    disputes: list["Dispute"] = field(default_factory=list)
    story: list[str] = field(default_factory=lambda: ["order.placed"])

    @property
    def card_amount(self) -> int:
        return self.total_amount - self.points_amount

    @property
    def is_card_refused(self) -> bool:
        """Whether the gateway or the card's owner refuses the charge, if there is one."""
        is_refused = self.token in DECLINED or (self.token == ASKING and self.decision == "refuse")
        return bool(is_refused and self.card_amount)

    @property
    def is_open(self) -> bool:
        return self.status in ("awaiting_payment", "paying")

    @property
    def is_over(self) -> bool:
        """Whether its payment's saga has nothing left to do, as far as the model knows."""
        return not self.is_open

    @property
    def saga_status(self) -> str:
        """Whether its payment's saga is running, done or undone, as far as the model knows."""
        is_done = self.status in ("paid", "refunding", "refunded")
        return "running" if self.status == "paying" else "done" if is_done else "undone"

    @property
    def refunded_amount(self) -> int:
        return sum(one.amount for one in self.refunds if one.is_settled)

    def left(self) -> dict[Product, int]:
        """The units that can still be refunded."""
        taken: Counter[Product] = Counter()
        for one in self.refunds:
            taken.update(one.counts)
        return {one: left for one, count in self.counts.items() if (left := count - taken[one])}

    def left_amounts(self) -> tuple[int, int]:
        """The points and the card amount that can still be refunded, as far as the shop knows."""
        held = sum(one.amount for one in self.disputes if one.booked in ("open", "lost"))
        card_amount = self.card_amount - held - sum(one.card_amount for one in self.refunds)
        return self.points_amount - sum(one.points_amount for one in self.refunds), max(0, card_amount)

    @property
    def unbooked_amount(self) -> int:
        """What the clerk has refunded and the shop has not booked."""
        return self.given_back - sum(one.card_amount for one in self.refunds if not one.saga_id)

    @property
    def is_confirmed(self) -> bool:
        """Whether an operator has recorded a refund of it as done, which the clerk may have made."""
        return any(one.is_confirmed for one in self.refunds)

    @property
    def has_news(self) -> bool:
        """Whether the gateway did something that the shop has not booked."""
        return self.unbooked_amount > 0 or any(one.is_news for one in self.disputes)

    def kept_amounts(self) -> tuple[int, int]:
        """The minimum and maximum that the gateway may keep of it now."""
        if self.status == "paying":
            return 0, 0 if self.token in NEVER_CHARGED else self.card_amount
        if self.status not in ("paid", "refunding", "refunded"):
            return 0, 0
        own = [one for one in self.refunds if one.saga_id]
        gone = self.given_back + sum(one.amount for one in self.disputes if one.status != "won")
        left = self.card_amount - gone - sum(one.card_amount for one in own if one.is_settled)
        under_way = sum(one.card_amount for one in own if not one.is_settled)
        # The clerk may have made what an operator confirmed.
        confirmed = sum(one.card_amount for one in own if one.is_settled and one.is_confirmed)
        return max(0, left - under_way), left + confirmed

    @property
    def kept_amount(self) -> int:
        """What the gateway keeps of it in the end."""
        return self.left_amounts()[1] if self.status in ("paid", "refunded") else 0

    def become(self, status: str):
        self.status = status
        self.story.append(f"order.{status}")


@dataclass(eq=False)
class Refund:
    """A refund of a part of an order, done or pending; without a saga it was made at the gateway.

    `is_confirmed`: an operator has recorded that it is done there. `is_reduced`: less was left there.
    """

    order: Order
    id: Any
    counts: dict[Product, int]
    restock: bool
    amount: int
    points_amount: int
    saga_id: Any
    is_late: bool = False
    is_settled: bool = False
    is_confirmed: bool = False
    is_reduced: bool = False

    @property
    def account_id(self) -> int:
        return self.order.account_id

    @property
    def is_over(self) -> bool:
        return self.is_settled

    @property
    def saga_status(self) -> str:
        return "done" if self.is_settled else "running"

    @property
    def card_amount(self) -> int:
        return self.amount - self.points_amount

    def assert_fair(self):
        """Assert that it takes at most its lines' amounts, and the last refund everything that is left."""
        order = self.order
        points_left, card_left = order.left_amounts()
        if self.counts == order.left():
            assert (self.amount, self.points_amount) == (points_left + card_left, points_left)
        assert 0 <= self.points_amount <= points_left
        assert 0 <= self.card_amount <= card_left
        if not order.disputes:
            # What a dispute held of units that are refunded is left for a later refund.
            assert self.amount <= sum(product.price * count for product, count in self.counts.items())
        proportion = self.amount * order.points_amount // (order.total_amount or 1)
        assert self.points_amount >= min(points_left, proportion)

    def reduce(self, amount: int):
        """Apply that the shop has reduced it to this amount: something else took a part of its charge."""
        taken = self.order.given_back + sum(one.amount for one in self.order.disputes)
        assert self.points_amount <= amount < self.amount <= amount + taken, f"{amount} is left of {self}"
        self.amount, self.is_reduced = amount, True


@dataclass(eq=False)
class Dispute:
    """A dispute of an order's charge: its status at the gateway, and the one that the shop has booked."""

    reference: str
    amount: int
    status: str = "open"
    booked: str = ""

    @property
    def is_news(self) -> bool:
        """Whether the shop has to book something of it; one that was won before it knew takes nothing."""
        return self.booked != self.status and (self.booked, self.status) != ("", "won")

    def book(self, status: str, amount: int):
        """Apply what the shop has booked of it: it doesn't open again, and doesn't end before its end."""
        allowed = {self.booked, self.status} | (set() if self.booked else {"open"})
        assert status in allowed and amount == self.amount, f"{amount} is booked as {status} of {self}"
        self.booked = status


@dataclass(eq=False)
class TopUp:
    """Points bought by card."""

    account_id: int
    amount: int
    token: str
    payment_id: Any = None
    saga_id: Any = None
    is_late: bool = False
    is_action_over: bool = False
    is_forced: bool = False
    given_back: int = 0
    status: str = "pending"

    @property
    def is_over(self) -> bool:
        return self.status != "pending"

    @property
    def saga_status(self) -> str:
        return {"pending": "running", "succeeded": "done", "failed": "undone"}[self.status]

    def kept_amounts(self) -> tuple[int, int]:
        """The minimum and maximum that the gateway may keep of it now."""
        least, most = {"pending": (0, 1), "succeeded": (1, 1), "failed": (0, 0)}[self.status]
        left = self.amount - self.given_back
        return left * least, 0 if self.token in NEVER_CHARGED else left * most

    @property
    def kept_amount(self) -> int:
        """What the gateway keeps of it in the end."""
        return self.kept_amounts()[0]


@dataclass(eq=False)
class Approval:
    """What an operator has asked for: to grant points to an account, or to force the saga of `subject`."""

    id: int
    asker_id: int
    account_id: int
    amount: int = 0
    subject: "Subject | None" = None
    is_decided: bool = False


Subject = Order | Refund | TopUp
