"""What refunds gave back of each line of their orders, and what that changes on their products' days.

A refund that fails gives its money back and no units, which stay returned. Amounts are in the currency's
minor unit.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import add, attrgetter
from typing import Any, NamedTuple

from orders import pricing


class RefundLine(NamedTuple):
    """A line of an order in one of its refunds; own units and amount are None where it gives none back."""

    product_id: int
    refund_id: Any
    line_id: int
    refund_amount: int
    points_amount: int
    paid_amount: int
    own_units: int | None
    own_amount: int | None
    has_settled: int
    has_failed: int


Part = tuple[RefundLine, int, int]
"""A line in a refund, with the amount that it gave back of it, and the points of that."""


def split(lines: Iterable[RefundLine]) -> Iterator[Part]:
    """What each refund gave back of each line; the last line has the rest of what is split."""
    by_refund: dict[Any, list[RefundLine]] = defaultdict(list)
    for line in lines:
        by_refund[line.refund_id].append(line)
    for of_refund in by_refund.values():
        of_refund.sort(key=attrgetter("line_id"))
        own_amounts = [int(line.own_amount or 0) for line in of_refund]
        # What is given back besides units, such as what a refund that failed owes.
        rest_amount = int(of_refund[0].refund_amount) - sum(own_amounts)
        rests = pricing.split_discount(rest_amount, [int(line.paid_amount) for line in of_refund])
        amounts = [*map(add, own_amounts, rests)]
        points = pricing.split_discount(int(of_refund[0].points_amount), amounts)
        yield from zip(of_refund, amounts, points, strict=True)


def changes(parts: Iterable[Part]) -> Iterator[tuple[int, dict[str, int]]]:
    """Products, each with what a refund gave back of it, or took back as it failed, by columns of its day."""
    for line, amount, points_amount in parts:
        if line.has_settled:
            yield line.product_id, {"units_refunded": int(line.own_units or 0), "refunded_amount": amount}
        if line.has_failed:
            # What came back is the card's part.
            yield line.product_id, {"refunded_amount": points_amount - amount}
