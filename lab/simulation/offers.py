"""The campaigns of a simulated run, and a model of them: whose orders may use their coupons, and for what."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coupons.campaigns import campaigns
from coupons.codes import eligible_accounts, pool
from inventory.reservations import Line
from orders.models import Order

COUPONS, AMOUNT, PERCENT = 5, 150, 33
PARTNER = "convenience_store"
CAMPAIGNS: tuple[dict[str, Any], ...] = (
    {"strategy": "pessimistic"},
    {"strategy": "queue"},
    {"strategy": "redis_gate"},
    {"strategy": "code_pool"},
    {"strategy": "queue", "partner": PARTNER},
    {"strategy": "redis_gate", "partner": PARTNER},
    {"strategy": "code_pool", "partner": PARTNER},
    {"strategy": "group_commit", "shared_code": "TO-ALL"},
    {"strategy": "pessimistic", "shared_code": "TO-FIRST-ORDERS", "first_order_only": True},
    {"strategy": "conditional_update", "shared_code": "TO-LISTED", "eligible": "listed"},
    {"strategy": "optimistic", "shared_code": "TO-PRODUCT", "products": "first"},
    {"strategy": "redis_gate", "eligible": "listed"},
    {"strategy": "queue", "products": "first"},
)
"""Their terms; those with products are limited to the first one, and every other account is listed."""


@dataclass(frozen=True)
class Offer:
    """A campaign. `code` is that of a shared one; `listed` and `products` are None for all of them."""

    code: str
    is_for_first_orders: bool
    listed: frozenset[int] | None
    products: frozenset[int] | None

    def lets_in(self, account_id: int) -> bool:
        return self.listed is None or account_id in self.listed

    def reasons(
        self, account_id: int, lines: Collection[Line], *, has_coupon: bool, has_ordered: bool
    ) -> set[str]:
        """Why an order of these lines may be refused the coupon."""
        reasons = {"held", "redeemed"} if has_coupon else {"sold_out"}
        if not (has_coupon or self.lets_in(account_id)):
            reasons.add("not_eligible")
        if self.is_for_first_orders and has_ordered:
            reasons.add("not_first_order")
        if not self._counted(lines):
            reasons.add("no_eligible_item")
        return reasons

    def wrong_with(self, lines: Collection[Line], prices: Mapping[int, int], order: Order) -> str:
        """What is wrong with this order, which has the coupon.

        Those that are limited to products give a share of their lines, the others an amount.
        """
        counted = sum(prices[line.product_id] * line.quantity for line in self._counted(lines))
        due = min(counted, AMOUNT) if self.products is None else counted * PERCENT // 100
        is_right = order.discount_amount == due > 0
        return "" if is_right else f"order {order.id} has a discount of {order.discount_amount}, not of {due}"

    def _counted(self, lines: Collection[Line]) -> list[Line]:
        return [line for line in lines if self.products is None or line.product_id in self.products]


def open_campaign(given: Mapping[str, Any], accounts: Sequence[int], product_id: int) -> tuple[int, Offer]:
    """A new campaign with these of `CAMPAIGNS`, and what the model knows of it."""
    terms: dict[str, Any] = {"discount_type": "amount", "discount_value": AMOUNT, **given}
    code, products, listed = terms.get("shared_code", ""), None, None
    is_pool = terms["strategy"] == "code_pool"
    if code or is_pool:
        terms["code_source"] = "pool" if is_pool else "shared"
    if "products" in terms:
        products = frozenset([product_id])
        terms |= {"products": [product_id], "discount_type": "percent", "discount_value": PERCENT}
    campaign_id = campaigns.create(name="Simulated", quantity=COUPONS, **terms).pk
    if is_pool:
        pool.add(campaign_id=campaign_id, codes=[f"POOL-{campaign_id}-{number}" for number in range(COUPONS)])
    if "eligible" in terms:
        listed = frozenset(accounts[::2])
        eligible_accounts.add(campaign_id=campaign_id, account_ids=accounts[::2])
    return campaign_id, Offer(code, "first_order_only" in terms, listed, products)
