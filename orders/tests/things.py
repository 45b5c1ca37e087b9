"""The objects of the model of a shop: products, coupons, orders, refunds and top-ups."""

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

    def give_back(self) -> None:
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
    if they are asked; `is_action_over`: they may not decide any more.
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
    refunds: list["Refund"] = field(default_factory=list)
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
    def refunded_amount(self) -> int:
        return sum(one.amount for one in self.refunds if one.is_settled)

    def left(self) -> dict[Product, int]:
        """The units that can still be refunded."""
        taken: Counter[Product] = Counter()
        for one in self.refunds:
            taken.update(one.counts)
        return {product: count - taken[product] for product, count in self.counts.items()}

    def kept_amounts(self) -> tuple[int, int]:
        """The minimum and maximum that the gateway may keep of it now."""
        if self.status == "paying":
            return 0, 0 if self.token in NEVER_CHARGED else self.card_amount
        if self.status not in ("paid", "refunding", "refunded"):
            return 0, 0
        settled = sum(one.card_amount for one in self.refunds if one.is_settled)
        under_way = sum(one.card_amount for one in self.refunds if not one.is_settled)
        return self.card_amount - settled - under_way, self.card_amount - settled

    def become(self, status: str) -> None:
        self.status = status
        self.story.append(f"order.{status}")


@dataclass(eq=False)
class Refund:
    """A refund of a part of an order, done or pending."""

    order: Order
    id: Any
    counts: dict[Product, int]
    restock: bool
    amount: int
    points_amount: int
    saga_id: Any
    is_late: bool = False
    is_settled: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_settled

    @property
    def card_amount(self) -> int:
        return self.amount - self.points_amount

    def assert_fair(self) -> None:
        """Assert that it takes at most its lines' amounts, and the last refund everything that is left."""
        order = self.order
        left_amount = order.total_amount - sum(one.amount for one in order.refunds)
        points_left_amount = order.points_amount - sum(one.points_amount for one in order.refunds)
        if self.counts == {product: count for product, count in order.left().items() if count}:
            assert (self.amount, self.points_amount) == (left_amount, points_left_amount)
        assert 0 <= self.points_amount <= points_left_amount
        assert 0 <= self.card_amount <= left_amount - points_left_amount
        assert self.amount <= sum(product.price * count for product, count in self.counts.items())
        assert self.points_amount >= self.amount * order.points_amount // (order.total_amount or 1)


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
    status: str = "pending"

    @property
    def is_over(self) -> bool:
        return self.status != "pending"

    def kept_amounts(self) -> tuple[int, int]:
        """The minimum and maximum that the gateway may keep of it now."""
        least, most = {"pending": (0, 1), "succeeded": (1, 1), "failed": (0, 0)}[self.status]
        return self.amount * least, 0 if self.token in NEVER_CHARGED else self.amount * most


Subject = Order | Refund | TopUp
