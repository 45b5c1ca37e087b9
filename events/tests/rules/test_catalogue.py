"""Which events there are, and what their data says."""

from uuid import UUID

import pytest

from events.feed import catalogue

pytestmark = pytest.mark.rules
ORDER_ID = UUID(int=1)


@pytest.mark.parametrize(
    ("pattern", "is_chosen"),
    [
        pytest.param("order.paid", True, id="the type itself"),
        pytest.param("order.*", True, id="the beginning of it"),
        pytest.param("*", True, id="all types"),
        pytest.param("order", False, id="less than the type"),
        pytest.param("coupon.*", False, id="another beginning"),
    ],
)
def test_order_paid_is_chosen_by(pattern, is_chosen):
    assert catalogue.matches("order.paid", pattern) is is_chosen


@pytest.mark.parametrize(
    ("pattern", "is_pattern"),
    [
        pytest.param("order.paid", True, id="a type"),
        pytest.param("order.*", True, id="the beginning of some"),
        pytest.param("*", True, id="all"),
        pytest.param("order.gone", False, id="no type"),
        pytest.param("gone.*", False, id="the beginning of none"),
        pytest.param("ord*", False, id="a beginning that ends within a word"),
        pytest.param("*.*", False, id="two stars"),
    ],
)
def test_a_pattern_is(pattern, is_pattern):
    assert catalogue.is_pattern(pattern) is is_pattern


@pytest.mark.parametrize(
    ("subject", "named"),
    [
        pytest.param("product 12", {"product": 12}, id="by a number"),
        pytest.param("coupon 12", {"coupon": "12"}, id="by a code of digits"),
        pytest.param("product x12", {"product": "x12"}, id="by what is no number"),
    ],
)
def test_an_event_names_what_it_is_about(subject, named):
    assert catalogue.data_of("stock.adjusted", subject=subject, order_id=None, after=None) == named


def test_an_event_names_its_order_and_the_members_of_its_type_alone():
    after = {"on_hand": 3, "reason": "secret"}

    data = catalogue.data_of("stock.adjusted", subject="product 1", order_id=ORDER_ID, after=after)

    assert data == {"product": 1, "order": str(ORDER_ID), "on_hand": 3}


@pytest.mark.parametrize(
    ("what", "type"),
    [
        pytest.param("order.paid", "order.paid", id="by the same word"),
        pytest.param("coupon.void", "coupon.voided", id="by another word"),
        pytest.param("product.sold_out", None, id="no line of the journal"),
    ],
)
def test_a_line_of_the_journal_is_an_event(what, type):
    assert catalogue.FROM_JOURNAL.get(what) == type
