"""Shares of a discount add up, are proportional, and never exceed a line."""

from hypothesis import given
from hypothesis import strategies as st

from orders import pricing


def test_the_last_line_takes_the_rest() -> None:
    assert pricing.split_discount(2, [10, 10, 10]) == [0, 0, 2]


def test_a_line_never_gets_more_than_it_costs() -> None:
    assert pricing.split_discount(5, [3, 3, 0]) == [2, 3, 0]


def test_nothing_is_shared_over_lines_that_cost_nothing() -> None:
    assert pricing.split_discount(0, [0, 0]) == [0, 0]


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.data())
def test_shares_add_up_and_never_exceed_their_lines(line_amounts: list[int], data: st.DataObject) -> None:
    discount = data.draw(st.integers(0, sum(line_amounts)))
    shares = pricing.split_discount(discount, line_amounts)
    assert sum(shares) == discount
    assert all(0 <= share <= amount for share, amount in zip(shares, line_amounts, strict=True))
