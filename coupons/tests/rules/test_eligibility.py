"""Who may get a coupon, by values alone. coupons/tests/test_eligibility.py has the conditions on the row."""

from functools import partial

import pytest

from coupons import eligibility
from coupons.tests.rules.states import NOW, campaign
from foundation.errors import Rejected, Unavailable

pytestmark = pytest.mark.rules
ACCOUNT = 7


def code(refused: Rejected | None) -> str:
    return refused.code if refused else ""


@pytest.mark.parametrize(
    ("listed", "refused"),
    [
        pytest.param(None, "", id="for all"),
        pytest.param({ACCOUNT, 8}, "", id="listed"),
        pytest.param({8}, "not_eligible", id="not listed"),
        pytest.param(set(), "not_eligible", id="an empty list"),
    ],
)
def test_an_open_campaign_lets_in_all_accounts_or_those_of_its_list(listed, refused):
    read = None if listed is None else lambda: listed

    assert code(eligibility.refusal(campaign(), ACCOUNT, now=NOW, listed=read)) == refused


@pytest.mark.parametrize("is_listed", [False, True], ids=["for all", "for listed accounts"])
def test_a_campaign_that_is_sold_out_says_so_to_every_account_and_reads_no_list(is_listed):
    read = partial(pytest.fail, "The list was read.") if is_listed else None

    assert code(eligibility.refusal(campaign(taken=10), ACCOUNT, now=NOW, listed=read)) == "sold_out"


def test_the_refusal_of_an_account_names_the_campaign():
    refused = eligibility.refusal(campaign(), ACCOUNT, now=NOW, listed=set)

    assert str(refused) == "Autumn is for listed accounts, and this one is not listed."


@pytest.mark.parametrize("status", ["issued", "held", "redeemed"])
def test_an_account_gets_the_coupon_that_it_has(status):
    assert eligibility.refusal_of_coupon(status) is None


def test_an_account_whose_coupon_is_void_gets_no_other():
    assert code(eligibility.refusal_of_coupon("void")) == "coupon_void"


def test_a_slot_that_a_partner_is_to_confirm_stays_the_accounts():
    assert eligibility.refusal_of_confirmation(is_cancelled=False) is None


def test_a_slot_that_is_being_cancelled_at_the_partner_is_to_be_asked_for_again():
    assert isinstance(eligibility.refusal_of_confirmation(is_cancelled=True), Unavailable)
