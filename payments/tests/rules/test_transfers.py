"""What transfers write: amounts that sum to zero, and wallets that never fall below it."""

from dataclasses import dataclass

import pytest

from foundation.errors import Rejected
from payments import transfers
from payments.transfers import GATEWAY_CLEARING, HOLDING, PROMOTIONS, SALES, NewTransfer, Proposal

pytestmark = pytest.mark.rules
WALLET = 42
OTHER = 43


@dataclass
class Order:
    account_id: int = WALLET
    points_amount: int = 30
    card_amount: int = 70


def proposal(amounts, reference="a"):
    return Proposal(kind="hold", reference=reference, amounts=amounts)


def spending(amount, reference="a"):
    return proposal({WALLET: -amount, HOLDING: amount}, reference)


def earning(amount, reference="b"):
    return proposal({PROMOTIONS: -amount, WALLET: amount}, reference)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        pytest.param(transfers.held(Order()), {WALLET: -30, HOLDING: 30}, id="points that are held"),
        pytest.param(transfers.released(Order()), {HOLDING: -30, WALLET: 30}, id="points that are released"),
        pytest.param(transfers.sold(Order()), {HOLDING: -30, GATEWAY_CLEARING: -70, SALES: 100}, id="a sale"),
        pytest.param(
            transfers.taken_back(50, wallet_id=WALLET, balance_amount=80),
            {GATEWAY_CLEARING: 50, PROMOTIONS: 0, WALLET: -50},
            id="a top-up that is taken back",
        ),
        pytest.param(
            transfers.taken_back(50, wallet_id=WALLET, balance_amount=20),
            {GATEWAY_CLEARING: 50, PROMOTIONS: -30, WALLET: -20},
            id="a top-up whose points are spent in part",
        ),
    ],
)
def test_a_transfer_moves(amounts, expected):
    assert amounts == expected
    assert sum(amounts.values()) == 0


def test_a_transfer_is_identified_by_kind_and_reference():
    assert spending(1).name == ("hold", "a")


@pytest.mark.parametrize(
    "amounts",
    [
        pytest.param({WALLET: -1, HOLDING: 2}, id="that does not sum to zero"),
        pytest.param({WALLET: 0, HOLDING: 0}, id="that moves nothing"),
        pytest.param({}, id="of no accounts"),
    ],
)
def test_no_transfer_is_made(amounts):
    with pytest.raises(ValueError, match="hold a must move something, and sum to zero"):
        transfers.check_balanced([spending(1), proposal(amounts)])


def test_balanced_transfers_pass():
    transfers.check_balanced([spending(1), earning(2)])


@pytest.mark.parametrize("amount", [pytest.param(99, id="less than"), pytest.param(100, id="all of")])
def test_a_wallet_spends(amount):
    asked = spending(amount)

    assert transfers.decide([asked], (), {WALLET: 100}) == [NewTransfer(asked, {WALLET: 100 - amount})]


@pytest.mark.parametrize(
    "balances", [pytest.param({WALLET: 99}, id="short by one"), pytest.param({}, id="not open")]
)
def test_a_wallet_does_not_fall_below_zero(balances):
    [refused] = transfers.decide([spending(100)], (), balances)

    assert isinstance(refused, Rejected)
    assert refused.code == "insufficient_points"


def test_a_credit_needs_an_open_wallet():
    with pytest.raises(ValueError, match="The wallet of user 42 isn't open"):
        transfers.decide([earning(5)], (), {OTHER: 0})


def test_the_shops_own_accounts_may_go_below_zero_and_cache_no_balance():
    asked = proposal({PROMOTIONS: -5, SALES: 5})

    assert transfers.decide([asked], (), {}) == [NewTransfer(asked, {})]


def test_later_transfers_see_what_earlier_ones_left():
    asked = [spending(100, "1"), spending(1, "2"), earning(5, "3"), spending(5, "4")]

    outcomes = transfers.decide(asked, (), {WALLET: 100})

    assert [isinstance(one, NewTransfer) for one in outcomes] == [True, False, True, True]
    assert outcomes[3].balances == {WALLET: 0}


def test_a_known_transfer_is_neither_made_nor_refused_again():
    assert transfers.decide([spending(1_000)], {("hold", "a")}, {WALLET: 0}) == [None]


def test_of_two_with_one_name_the_first_is_made():
    outcomes = transfers.decide([spending(40), spending(40)], (), {WALLET: 100})

    assert outcomes == [NewTransfer(spending(40), {WALLET: 60}), None]


def test_one_that_was_refused_may_come_again_in_the_list():
    outcomes = transfers.decide([spending(5), earning(5), spending(5)], (), {WALLET: 0})

    assert outcomes[2] == NewTransfer(spending(5), {WALLET: 0})


def test_the_balances_that_were_read_stay_as_they_are():
    balances = {WALLET: 100}

    transfers.decide([spending(40)], (), balances)

    assert balances == {WALLET: 100}
