"""What refunds gave back of each line, and what that changes on its product's day."""

import pytest

from orders import refund_parts
from orders.refund_parts import RefundLine

pytestmark = pytest.mark.rules
TEA = 1
CUP = 2


def line(**changes) -> RefundLine:
    """A line of tea that a refund of 500, of which 100 in points, gave back; but for these changes."""
    usual = RefundLine(
        product_id=TEA,
        refund_id="first",
        line_id=1,
        refund_amount=500,
        points_amount=100,
        paid_amount=1_000,
        own_units=1,
        own_amount=500,
        has_settled=1,
        has_failed=0,
    )
    return usual._replace(**changes)


def test_a_refund_of_units_gives_back_their_amounts_and_splits_its_points_by_them():
    tea = line(own_amount=300)
    cup = line(product_id=CUP, line_id=2, own_amount=200)

    assert [*refund_parts.split([cup, tea])] == [(tea, 300, 60), (cup, 200, 40)]


def test_a_refund_by_amount_is_split_by_what_was_paid_for_each_line():
    tea = line(own_units=None, own_amount=None)
    cup = line(product_id=CUP, line_id=2, paid_amount=250, own_units=None, own_amount=None)

    assert [part[1:] for part in refund_parts.split([tea, cup])] == [(400, 80), (100, 20)]


def test_refunds_are_split_each_for_itself():
    other = line(refund_id="second", refund_amount=200, own_amount=200, points_amount=0)

    assert [part[1:] for part in refund_parts.split([line(), other])] == [(500, 100), (200, 0)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [(TEA, {"units_refunded": 1, "refunded_amount": 500})], id="settled"),
        pytest.param(
            {"own_units": None}, [(TEA, {"units_refunded": 0, "refunded_amount": 500})], id="by amount"
        ),
        pytest.param({"has_settled": 0, "has_failed": 1}, [(TEA, {"refunded_amount": -400})], id="failed"),
        pytest.param({"has_settled": 0}, [], id="neither on this day"),
    ],
)
def test_a_settled_refund_counts_and_a_failed_one_takes_its_card_part_back(changes, expected):
    assert [*refund_parts.changes([(line(**changes), 500, 100)])] == expected
