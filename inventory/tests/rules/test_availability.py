"""Which lines of orders can be reserved."""

import pytest

from foundation.errors import Held, NotFound, Rejected
from inventory import availability
from inventory.availability import Line, Stock

pytestmark = pytest.mark.rules


def product(id=1, **changes):
    """A product with five units on hand."""
    usual = {"on_hand": 5, "reserved": 0, "is_active": True, "paused_at": None, "newly_reserved": 0} | changes
    return Stock(
        id,
        "TEA",
        "Tea",
        1_000,
        sale_id=None,
        low_stock_threshold=None,
        limit_per_account=None,
        version=1,
        **usual,
    )


def stock(*products):
    return {one.id: one for one in products}


def test_lines_of_one_product_are_added_up_in_their_order():
    lines = [Line(2, 1), Line(1, 3), Line(2, 4)]

    assert list(availability.quantities(lines).items()) == [(2, 5), (1, 3)]


def test_a_product_that_is_sold_passes():
    availability.check_sold(stock(product()), [Line(1, 1)])


@pytest.mark.parametrize(
    "products", [pytest.param([], id="missing"), pytest.param([product(is_active=False)], id="inactive")]
)
def test_there_is_no_product_that_is(products):
    with pytest.raises(NotFound) as refused:
        availability.check_sold(stock(product(2), *products), [Line(2, 1), Line(1, 1)])

    assert (refused.value.code, refused.value.extra) == ("product_not_found", {"products": [1]})


def test_a_paused_product_is_refused():
    with pytest.raises(Rejected) as refused:
        availability.check_sold(stock(product(paused_at="now"), product(2)), [Line(1, 1), Line(2, 1)])

    assert (refused.value.code, refused.value.extra) == ("product_paused", {"items": [{"product": 1}]})


@pytest.mark.parametrize(
    ("changes", "quantity"),
    [
        pytest.param({}, 5, id="all that is on hand"),
        pytest.param({"reserved": 2}, 3, id="all that open orders leave"),
        pytest.param({"newly_reserved": 2}, 3, id="all that the batch leaves"),
    ],
)
def test_there_is_enough_for(changes, quantity):
    availability.check_available(stock(product(**changes)), [Line(1, quantity)])

    with pytest.raises(Rejected):
        availability.check_available(stock(product(**changes)), [Line(1, quantity), Line(1, 1)])


def test_the_refusal_names_each_product_that_is_short():
    products = stock(product(), product(2, on_hand=1), product(3, on_hand=0))

    with pytest.raises(Rejected) as refused:
        availability.check_available(products, [Line(1, 5), Line(2, 2), Line(3, 1)])

    assert refused.value.code == "insufficient_stock"
    assert refused.value.extra["items"] == [
        {"product": 2, "requested": 2, "available": 1},
        {"product": 3, "requested": 1, "available": 0},
    ]


@pytest.mark.parametrize(
    ("reserved", "kind"),
    [
        pytest.param(1, Held, id="by what unpaid orders hold, until they lapse"),
        pytest.param(0, Rejected, id="for good, as nothing of it is reserved"),
    ],
)
def test_a_product_is_short(reserved, kind):
    products = stock(product(reserved=reserved), product(2, reserved=5))

    with pytest.raises(Rejected) as refused:
        availability.check_available(products, [Line(1, 6)])

    assert type(refused.value) is kind


def test_reserved_lines_leave_less_for_the_next_order():
    products = stock(product())

    availability.reserve(products, [Line(1, 2), Line(1, 1)])

    assert products[1].available == 2


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
