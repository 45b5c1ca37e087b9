"""Who may get a coupon, by values alone. coupons/tests/test_eligibility.py has the conditions on the row."""

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
    assert code(eligibility.refusal(campaign(), ACCOUNT, now=NOW, listed=listed)) == refused


@pytest.mark.parametrize("listed", [None, {ACCOUNT}, {8}], ids=["for all", "listed", "not listed"])
def test_a_campaign_that_is_sold_out_says_so_to_every_account(listed):
    sold_out = campaign(taken=10)

    assert code(eligibility.refusal(sold_out, ACCOUNT, now=NOW, listed=listed)) == "sold_out"


def test_the_list_is_not_read_for_a_campaign_that_issues_nothing():
    class Unread:
        def __contains__(self, account_id: object) -> bool:
            raise AssertionError("The list was read.")

    assert code(eligibility.refusal(campaign(closes_at=NOW), ACCOUNT, now=NOW, listed=Unread()))


def test_the_refusal_of_an_account_names_the_campaign():
    refused = eligibility.refusal(campaign(), ACCOUNT, now=NOW, listed=set())

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
