"""What a change of stock means for what is available."""

import pytest

from inventory import availability

pytestmark = pytest.mark.rules


@pytest.mark.parametrize(
    ("before", "after", "threshold", "is_low"),
    [
        pytest.param(6, 5, 5, True, id="it falls to the threshold"),
        pytest.param(9, 2, 5, True, id="it falls below it at once"),
        pytest.param(5, 4, 5, False, id="it was there already"),
        pytest.param(9, 6, 5, False, id="it stays above it"),
        pytest.param(4, 6, 5, False, id="it rises above it"),
        pytest.param(6, 5, None, False, id="the product has none"),
    ],
)
def test_stock_gets_low_when(before, after, threshold, is_low):
    assert availability.is_low(before, after, threshold) is is_low


@pytest.mark.parametrize(
    ("before", "after", "is_turn"),
    [
        pytest.param(1, 0, True, id="sold out"),
        pytest.param(0, 1, True, id="available again"),
        pytest.param(2, 1, False, id="less, and not nothing"),
        pytest.param(0, 0, False, id="still nothing"),
    ],
)
def test_a_product_is(before, after, is_turn):
    assert availability.is_turn(before, after) is is_turn
