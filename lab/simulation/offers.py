"""A model of the campaigns of a simulated run: whose orders may use their coupons, for what, and how many."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from coupons.models import Campaign, Coupon
from inventory.reservations import Line
from orders.models import Order

AMOUNT, PERCENT = 150, 33


@dataclass(frozen=True)
class Offer:
    """A campaign. `code` is that of a shared one; `listed` and `products` are None for all of them."""

    quantity: int
    code: str = ""
    is_for_first_orders: bool = False
    listed: frozenset[int] | None = None
    products: frozenset[int] | None = None

    def counts_over(self, product_id: int) -> bool:
        return self.products is None or product_id in self.products

    def lets_in(self, account_id: int) -> bool:
        return self.listed is None or account_id in self.listed

    def discount_amount(self, lines: Collection[Line], prices: Mapping[int, int]) -> int:
        """Those that are limited to products give a share of their lines, the others an amount."""
        counted = sum(
            prices[line.product_id] * line.quantity for line in lines if self.counts_over(line.product_id)
        )
        return min(counted, AMOUNT) if self.products is None else counted * PERCENT // 100

    def reasons(
        self, account_id: int, lines: Collection[Line], *, has_coupon: bool, has_ordered: bool
    ) -> set[str]:
        """Why an order of these lines may be refused the coupon."""
        reasons = {"held", "redeemed"} if has_coupon else {"sold_out"}
        if not (has_coupon or self.lets_in(account_id)):
            reasons.add("not_eligible")
        if self.is_for_first_orders and has_ordered:
            reasons.add("not_first_order")
        if not any(self.counts_over(line.product_id) for line in lines):
            reasons.add("no_eligible_item")
        return reasons

    def wrong_with(self, lines: Collection[Line], prices: Mapping[int, int], order: Order) -> str:
        """What is wrong with this order, which has the coupon."""
        due = self.discount_amount(lines, prices)
        is_right = order.discount_amount == due > 0
        return (
            "" if is_right else f"order {order.id} has a discount of {order.discount_amount}, due are {due}"
        )


def findings(offers: Mapping[int, Offer], sold_out: Collection[int]) -> Iterator[str]:
    """Campaigns that gave more than they have, or refused before, and first orders that were none."""
    for campaign_id, offer in offers.items():
        issued = Coupon.objects.filter(campaign_id=campaign_id).count()
        if issued > offer.quantity or (campaign_id in sold_out and issued < offer.quantity):
            yield f"campaign {campaign_id} of {offer.quantity} has issued {issued}, sold out: {sold_out}"
    for_first = Campaign.objects.filter(first_order_only=True)
    codes = Coupon.objects.filter(campaign__in=for_first).values_list("code", flat=True)
    for order in Order.objects.filter(coupon_code__in=list(codes)).order_by("id"):
        for before in Order.objects.filter(account_id=order.account_id, placed_at__lt=order.placed_at):
            is_over = before.ended_at is not None and before.ended_at <= order.placed_at
            if not (is_over or before.status == Order.Status.REFUNDED):
                yield f"order {order.id} is no first order: {before.id} was {before.status}"
