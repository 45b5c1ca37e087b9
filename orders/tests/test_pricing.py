"""Shares of a discount add up, are proportional, and never exceed a line."""

from hypothesis import given, strategies as st

from orders import pricing


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.data())
def test_shares_add_up_and_never_exceed_their_lines(line_amounts: list[int], data: st.DataObject) -> None:
    discount = data.draw(st.integers(0, sum(line_amounts)))
    shares = pricing.split_discount(discount, line_amounts)
    assert sum(shares) == discount
    assert all(0 <= share <= amount for share, amount in zip(shares, line_amounts, strict=True))
