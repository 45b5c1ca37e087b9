"""What a refund of an order returns: by lines, or by amount what is owed besides its units."""

import pytest

from foundation.errors import Rejected
from orders.payment import refund_amounts
from orders.payment.refund_amounts import Decision, Refundable, RefundableLine

pytestmark = pytest.mark.rules
TEA = 1
CUP = 2
LINES = [RefundableLine(TEA, 3, 0, 100, 0), RefundableLine(CUP, 1, 0, 700, 100)]
"""Three of 100 and one of 700 less 100."""
ALL_LEFT = Refundable(points_amount=300, card_amount=600, held_amount=0)


def decide(wanted, left=ALL_LEFT, lines=LINES):
    return refund_amounts.decide(lines, wanted, left, points_amount=300, total_amount=900)


def refusal_of(wanted, left=ALL_LEFT, lines=LINES):
    with pytest.raises(Rejected) as refusal:
        decide(wanted, left, lines)
    return refusal.value


@pytest.mark.parametrize(
    ("wanted", "decision"),
    [
        pytest.param({TEA: 2}, Decision({TEA: 2}, 200, 66), id="some units"),
        pytest.param({TEA: 3, CUP: 1}, Decision({TEA: 3, CUP: 1}, 900, 300), id="all units"),
        pytest.param(None, Decision({TEA: 3, CUP: 1}, 900, 300), id="all that is left"),
        pytest.param({TEA: 1, CUP: 0}, Decision({TEA: 1}, 100, 33), id="none of a product"),
    ],
)
def test_a_refund_returns_the_units_at_what_they_cost_in_points_and_by_card(wanted, decision):
    assert decide(wanted) == decision


def test_the_last_units_take_all_that_is_left():
    lines = [LINES[0]._replace(refunded_quantity=2), LINES[1]._replace(refunded_quantity=1)]

    assert decide({TEA: 1}, Refundable(34, 67, 0), lines) == Decision({TEA: 1}, 101, 34)


def test_units_return_no_more_than_is_left_nor_more_points_than_are():
    assert decide({CUP: 1}, Refundable(100, 400, 0)) == Decision({CUP: 1}, 500, 100)


@pytest.mark.parametrize("points_left", [150, 100])
def test_no_more_points_are_returned_than_are_left(points_left):
    assert decide({CUP: 1}, Refundable(points_left, 600, 0)).points_amount == points_left


def test_what_is_owed_besides_units_is_returned_by_card():
    lines = [LINES[0]._replace(refunded_quantity=1), LINES[1]]

    assert decide({}, Refundable(250, 650, 0), lines) == Decision({}, 100, 0)


def test_an_amount_is_refunded_that_is_left_without_units():
    lines = [line._replace(refunded_quantity=line.quantity) for line in LINES]

    assert decide(None, Refundable(0, 50, 0), lines) == Decision({}, 50, 0)


@pytest.mark.parametrize(
    ("wanted", "item"),
    [
        pytest.param({TEA: 4}, {"product": TEA, "requested": 4, "refundable": 3}, id="too many"),
        pytest.param({9: 1}, {"product": 9, "requested": 1, "refundable": 0}, id="another product"),
    ],
)
def test_more_units_than_are_left_are_refused(wanted, item):
    refusal = refusal_of(wanted)

    assert (refusal.code, refusal.extra["items"]) == ("refund_exceeds_order", [item])


@pytest.mark.parametrize(
    ("wanted", "left", "is_empty", "text"),
    [
        pytest.param(None, Refundable(0, 0, 0), True, "All of the order is refunded", id="all is refunded"),
        pytest.param({}, ALL_LEFT, False, "Nothing is owed", id="nothing is owed besides units"),
        pytest.param({TEA: 1}, Refundable(0, 0, 900), False, "disputed at the gateway", id="all is disputed"),
        pytest.param({TEA: 1}, Refundable(0, 0, 0), False, "is given back already", id="all is given back"),
    ],
)
def test_a_refund_of_nothing_is_refused(wanted, left, is_empty, text):
    lines = [line._replace(refunded_quantity=line.quantity) for line in LINES] if is_empty else LINES

    refusal = refusal_of(wanted, left, lines)

    assert refusal.code == "nothing_to_refund"
    assert text in str(refusal)


def test_nothing_is_owed_where_less_is_left_than_the_units_cost():
    assert refund_amounts.owed_amount(LINES, 899) == 0


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param("refunded", "is refunded already", id="all is refunded"),
        pytest.param("awaiting_payment", "not paid: it is expired", id="unpaid"),
    ],
)
def test_an_order_that_is_not_paid_any_more_or_yet_is_not_refunded(status, text):
    with pytest.raises(Rejected, match=text) as refusal:
        refund_amounts.check_refundable(status, shown="expired")

    assert refusal.value.code == "nothing_to_refund"


@pytest.mark.parametrize("status", ["paid", "refunding"])
def test_a_paid_order_may_be_refunded(status):
    refund_amounts.check_refundable(status, shown=status)
