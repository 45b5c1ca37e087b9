"""Amounts of discounts and refunds: proportional integers that add up to exactly what was paid."""

from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from orders import pricing

pytestmark = pytest.mark.rules


@pytest.mark.parametrize(
    ("total_amount", "line_amounts", "shares"),
    [
        pytest.param(10, [100, 100], [5, 5], id="in proportion"),
        pytest.param(10, [100, 200], [3, 7], id="the last takes the rest"),
        pytest.param(2, [1, 1, 1, 0], [0, 1, 1, 0], id="no share exceeds its line"),
        pytest.param(0, [100], [0], id="no discount"),
        pytest.param(10, [0, 0], [0, 0], id="nothing to pay"),
    ],
)
def test_a_discount_is_split_by_amounts(total_amount, line_amounts, shares):
    assert pricing.split_discount(total_amount, line_amounts) == shares


@pytest.mark.parametrize(
    ("total_amount", "amounts"),
    [
        pytest.param(30, [10, 20], id="all is left"),
        pytest.param(40, [10, 20], id="more is left"),
        pytest.param(15, [5, 10], id="half is left"),
    ],
)
def test_lines_share_what_is_missing(total_amount, amounts):
    assert pricing.fit_amounts([10, 20], total_amount) == amounts


@pytest.mark.parametrize(
    ("amount", "card_left", "points"),
    [
        pytest.param(50, 75, 12, id="in proportion, rounded down"),
        pytest.param(50, 30, 20, id="the card has less left"),
        pytest.param(0, 0, 0, id="nothing"),
    ],
)
def test_points_are_refunded_in_proportion(amount, card_left, points):
    found = pricing.refund_points_amount(
        amount, points_amount=25, total_amount=100, refundable_card_amount=card_left
    )

    assert found == points


def test_an_order_of_nothing_refunds_no_points():
    assert pricing.refund_points_amount(0, points_amount=0, total_amount=0, refundable_card_amount=0) == 0


@pytest.mark.parametrize(("count", "amount"), [(0, 0), (1, 300), (2, 600), (3, 899)])
def test_units_cost_their_price_less_their_share_of_the_discount_rounded_down(count, amount):
    line = {"quantity": 3, "unit_price": 333, "discount_amount": 100}

    assert pricing.discounted_amount(count, **line) == amount


@given(st.integers(1, 1_000), st.integers(0, 10**12), st.data())
def test_each_further_unit_refunds_between_nothing_and_its_price(quantity, unit_price, data):
    discount = data.draw(st.integers(0, quantity * unit_price))
    count = data.draw(st.integers(0, quantity - 1))
    line = {"quantity": quantity, "unit_price": unit_price, "discount_amount": discount}
    assert (
        0
        <= pricing.discounted_amount(count + 1, **line) - pricing.discounted_amount(count, **line)
        <= unit_price
    )
    assert pricing.discounted_amount(quantity, **line) == quantity * unit_price - discount


@dataclass
class Bought:
    """One line of an order, and how many of its units are refunded."""

    quantity: int
    unit_price: int
    discount_amount: int
    refunded: int = 0

    def refund(self, count: int) -> int:
        before = self._worth(self.refunded)
        self.refunded += count
        return self._worth(self.refunded) - before

    def _worth(self, count):
        return pricing.discounted_amount(
            count, quantity=self.quantity, unit_price=self.unit_price, discount_amount=self.discount_amount
        )


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[Bought], int]:
    """Lines with their shares of a discount, and the amount that was paid by points."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 10**9)), min_size=1, max_size=5))
    line_amounts = [quantity * price for quantity, price in sizes]
    discount = draw(st.integers(0, sum(line_amounts)))
    shares = pricing.split_discount(discount, line_amounts)
    points = draw(st.integers(0, sum(line_amounts) - discount))
    lines = [Bought(*size, share) for size, share in zip(sizes, shares, strict=True)]
    return lines, points


@given(orders(), st.randoms(use_true_random=False))
def test_however_an_order_is_split_its_refunds_add_up_to_what_was_paid(order, chance):
    lines, points_amount = order
    total = sum(line.quantity * line.unit_price - line.discount_amount for line in lines)
    left = {"points": points_amount, "card": total - points_amount}
    while open_lines := [line for line in lines if line.refunded < line.quantity]:
        chosen = chance.sample(open_lines, k=chance.randint(1, len(open_lines)))
        amount = sum(line.refund(chance.randint(1, line.quantity - line.refunded)) for line in chosen)
        points = pricing.refund_points_amount(
            amount, points_amount=points_amount, total_amount=total, refundable_card_amount=left["card"]
        )
        assert 0 <= points <= left["points"]
        assert 0 <= amount - points <= left["card"]
        if left["card"] > amount - points:
            assert points == (amount * points_amount // total if total else 0)
        left["points"] -= points
        left["card"] -= amount - points
    assert left == {"points": 0, "card": 0}


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.data())
def test_shares_add_up_and_never_exceed_their_lines(line_amounts, data):
    discount = data.draw(st.integers(0, sum(line_amounts)))
    shares = pricing.split_discount(discount, line_amounts)
    assert sum(shares) == discount
    assert all(0 <= share <= amount for share, amount in zip(shares, line_amounts, strict=True))
