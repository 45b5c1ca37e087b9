"""Which requests of a batch get a slot, and what is written for it, by values alone."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from coupons import slots
from coupons.slots import ConfirmationDecision, Decision
from coupons.tests.rules.states import NOW
from foundation.errors import Rejected

pytestmark = pytest.mark.rules
AGREED, REFUSED, UNSENT = ConfirmationDecision
BARRED = Rejected("This account is barred.", code="account_barred")


def barring(*barred: int) -> Callable[[int], Rejected | None]:
    return lambda account_id: BARRED if account_id in barred else None


@pytest.mark.parametrize(
    ("remaining", "takers"),
    [
        pytest.param(None, [3, 1, 2], id="for everybody"),
        pytest.param(5, [3, 1, 2], id="enough"),
        pytest.param(3, [3, 1, 2], id="just enough"),
        pytest.param(2, [3, 1], id="too few"),
        pytest.param(0, [], id="none"),
    ],
)
def test_the_first_requests_get_what_is_left(remaining, takers):
    decision = slots.decide([3, 1, 2], {}, barring(), remaining=remaining)

    assert decision.takers == takers


def test_an_account_that_asks_twice_takes_one_slot():
    decision = slots.decide([3, 3, 1], {}, barring(), remaining=2)

    assert decision.takers == [3, 1]


def test_an_account_with_a_coupon_is_left_out():
    decision = slots.decide([3, 1], {3}, barring(), remaining=1)

    assert decision == Decision([1], {1: None})


def test_a_refused_account_takes_no_slot_from_the_others():
    decision = slots.decide([3, 1, 2], {}, barring(3), remaining=2)

    assert decision == Decision([1, 2], {3: BARRED, 1: None, 2: None})


@pytest.mark.parametrize(
    ("claims", "free", "others", "chosen"),
    [
        pytest.param([(1, ""), (2, "")], set(), ["A", "B"], {1: "A", 2: "B"}, id="the oldest of the pool"),
        pytest.param([(1, "X")], {"X"}, [], {1: "X"}, id="the one that it claimed"),
        pytest.param([(1, "X")], set(), ["A"], {1: "A"}, id="another if that is issued"),
        pytest.param([(1, "X"), (2, "")], {"X"}, ["A"], {1: "X", 2: "A"}, id="a claim beside none"),
        pytest.param([(1, "X"), (2, "X")], {"X"}, ["A"], {1: "X", 2: "A"}, id="one code claimed twice"),
        pytest.param([(1, ""), (2, "")], set(), ["A"], {1: "A"}, id="none once the pool ran out"),
        pytest.param([(1, ""), (2, "X")], {"X"}, [], {2: "X"}, id="a claim after the pool ran out"),
    ],
)
def test_the_codes_of_accounts(claims, free, others, chosen):
    assert slots.assign_codes(claims, free, others) == chosen


def test_codes_are_assigned_in_the_order_of_the_requests():
    chosen = slots.assign_codes([(2, ""), (1, "X")], {"X"}, ["A"])

    assert list(chosen) == [2, 1]


@pytest.mark.parametrize(
    ("issued", "new", "first"),
    [pytest.param(1, 1, 1, id="the first coupon"), pytest.param(12, 3, 10, id="three after nine")],
)
def test_positions_end_with_the_count_of_issued_coupons(issued, new, first):
    assert slots.first_position(issued, new) == first


def test_a_coupon_is_valid_for_its_campaigns_days():
    assert slots.expires_at(NOW, 30) == NOW + timedelta(days=30)


@pytest.mark.parametrize(
    ("decision", "is_cancelled", "attempts", "settles"),
    [
        pytest.param(AGREED, False, 0, True, id="confirmed at the first call"),
        pytest.param(AGREED, False, 2, True, id="confirmed later"),
        pytest.param(AGREED, True, 0, False, id="no coupon of a cancelled slot"),
        pytest.param(REFUSED, False, 2, True, id="refused"),
        pytest.param(REFUSED, True, 2, True, id="cancelled at the partner"),
        pytest.param(UNSENT, False, 0, True, id="never sent"),
        pytest.param(UNSENT, False, 1, False, id="another call may have been sent"),
        pytest.param(UNSENT, True, 0, False, id="never sent, but being cancelled"),
    ],
)
def test_what_settles_a_slot_that_a_partner_is_to_confirm(decision, is_cancelled, attempts, settles):
    assert slots.settles(decision, is_cancelled=is_cancelled, attempts=attempts) is settles
