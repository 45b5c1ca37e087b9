"""Limits of cards: the declined payments of an account and of an API key."""

import pytest

from orders import limits
from orders.limits import OF_ACCOUNT, OF_KEY, Payer

pytestmark = pytest.mark.rules
BOTH = {OF_ACCOUNT: 3, OF_KEY: 5}
PERSON = Payer(7)
PROGRAM = Payer(7, key_id=9)


@pytest.mark.parametrize(
    ("counts", "payer", "most"),
    [
        pytest.param({}, PERSON, BOTH, id="none declined"),
        pytest.param({(OF_ACCOUNT, 7): 2, (OF_KEY, 9): 4}, PROGRAM, BOTH, id="one less than each limit"),
        pytest.param({(OF_ACCOUNT, 8): 3, (OF_KEY, 7): 5}, PERSON, BOTH, id="another's"),
        pytest.param({(OF_ACCOUNT, 7): 9}, PERSON, {OF_KEY: 5}, id="no limit of accounts"),
    ],
)
def test_a_card_may_be_tried_below_the_limits(counts, payer, most):
    assert limits.reached_card_limit(counts, payer, most) is None


@pytest.mark.parametrize(
    ("counts", "payer", "limit"),
    [
        pytest.param({(OF_ACCOUNT, 7): 3}, PERSON, (OF_ACCOUNT, 7), id="the account's"),
        pytest.param({(OF_ACCOUNT, 7): 3}, PROGRAM, (OF_ACCOUNT, 7), id="the account's, by a key"),
        pytest.param({(OF_ACCOUNT, 7): 3, (OF_KEY, 9): 5}, PROGRAM, (OF_KEY, 9), id="the key's first"),
    ],
)
def test_no_card_is_tried_once_a_limit_is_reached(counts, payer, limit):
    assert limits.reached_card_limit(counts, payer, BOTH) == limit


@pytest.mark.parametrize(
    ("payer", "counts"),
    [
        pytest.param(PERSON, {(OF_ACCOUNT, 7): 2}, id="a person's"),
        pytest.param(PROGRAM, {(OF_ACCOUNT, 7): 2, (OF_KEY, 9): 1}, id="a program's"),
        pytest.param(None, {(OF_ACCOUNT, 7): 1}, id="of no payer"),
    ],
)
def test_a_payment_counts_for_the_later_ones_of_its_transaction(payer, counts):
    counted = {(OF_ACCOUNT, 7): 1}

    limits.add_card(counted, payer)

    assert counted == counts
