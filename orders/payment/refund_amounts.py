"""What a refund returns: of units by their lines, or by amount what is owed besides units."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from foundation.errors import Rejected
from foundation.lazy_texts import mark
from orders import order_states, pricing


class RefundableLine(NamedTuple):
    """A line of an order, with how many of its units are refunded, or about to be."""

    product_id: int
    quantity: int
    refunded_quantity: int
    unit_price: int
    discount_amount: int

    @property
    def left(self) -> int:
        return self.quantity - self.refunded_quantity

    def amount_of(self, count: int) -> int:
        """The refund for `count` more units, after those that are refunded already."""
        before, after = (
            pricing.discounted_amount(
                units,
                quantity=self.quantity,
                unit_price=self.unit_price,
                discount_amount=self.discount_amount,
            )
            for units in (self.refunded_quantity, self.refunded_quantity + count)
        )
        return after - before


class Refundable(NamedTuple):
    points_amount: int
    card_amount: int
    held_amount: int
    """What disputes hold of the card amount, or have lost; it is not in it."""

    @property
    def amount(self) -> int:
        return self.points_amount + self.card_amount


class Decision(NamedTuple):
    """A refund: the units of each product, and what it returns, of which so much in points."""

    units: Mapping[int, int]
    amount: int
    points_amount: int


def check_refundable(status: str, *, shown: str) -> None:
    """Raise `Rejected` `nothing_to_refund` for an order of this status, which its readers see as `shown`."""
    if status not in order_states.REFUNDABLE:
        if status in order_states.PAID:
            raise _all_is_refunded()
        text = mark("The order is not paid: it is {status}.", status=shown)
        raise Rejected(text, code="nothing_to_refund")


def decide(
    lines: Sequence[RefundableLine],
    wanted: Mapping[int, int] | None,
    left: Refundable,
    *,
    points_amount: int,
    total_amount: int,
) -> Decision:
    """The refund of these units by product, of all that is left (None), or without any of what is owed.

    Raises `Rejected` `nothing_to_refund`, and `refund_exceeds_order` with `items`.
    """
    units = _units_to_refund(lines, wanted, left)
    takes_all = all(line.left == units.get(line.product_id, 0) for line in lines)
    line_amount = sum(line.amount_of(units.get(line.product_id, 0)) for line in lines)
    # The last units take all that is left, and no units more than that.
    amount = left.amount if takes_all else min(line_amount, left.amount)
    is_owed = not (units or takes_all)
    if is_owed:
        amount = owed_amount(lines, left.amount)
        if not amount:
            raise Rejected(mark("Nothing is owed besides the units that are left."), code="nothing_to_refund")
    if line_amount and not amount:
        disputed = mark("What is left of the order is disputed at the gateway.")
        returned = mark(
            "All that was paid is given back already, or about to be: no amount is left for the units."
        )
        raise Rejected(disputed if left.held_amount else returned, code="nothing_to_refund")
    in_points = pricing.refund_points_amount(
        amount,
        # What is owed was paid by card.
        points_amount=0 if is_owed else points_amount,
        total_amount=total_amount,
        refundable_card_amount=left.card_amount,
    )
    return Decision(units, amount, min(in_points, left.points_amount))


def owed_amount(lines: Iterable[RefundableLine], left_amount: int) -> int:
    """What is left to refund besides the units that are left: a refund of others failed, or could not give
    back all because of a dispute that is won since.
    """
    return max(0, left_amount - sum(line.amount_of(line.left) for line in lines))


def _units_to_refund(
    lines: Sequence[RefundableLine], wanted: Mapping[int, int] | None, refundable: Refundable
) -> dict[int, int]:
    """The units of each product to refund.

    None may be left while an amount is: a dispute held it when the last units were refunded, and is won.
    """
    left = {line.product_id: line.left for line in lines}
    if not any(left.values()) and not refundable.amount:
        raise _all_is_refunded()
    requested = left if wanted is None else wanted
    exceeding = [
        {"product": product_id, "requested": count, "refundable": left.get(product_id, 0)}
        for product_id, count in requested.items()
        if count > left.get(product_id, 0)
    ]
    if exceeding:
        raise Rejected(
            mark("The refund exceeds what is left of the order."),
            code="refund_exceeds_order",
            items=exceeding,
        )
    return {product_id: count for product_id, count in requested.items() if count}


def _all_is_refunded() -> Rejected:
    text = mark("All of the order is refunded already, or about to be.")
    return Rejected(text, code="nothing_to_refund")
