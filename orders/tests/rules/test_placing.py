"""What an order comes to, and what of its buyer refuses it: amounts, means, first orders, own terms."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from foundation.errors import Invalid, NotAllowed, Rejected
from orders import pricing
from orders.limits import FirstOrders
from orders.placement import own_terms

pytestmark = pytest.mark.rules
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
ORDER = UUID(int=1)


@pytest.mark.parametrize(
    ("points_amount", "expected"),
    [
        pytest.param(0, None, id="no total was shown"),
        pytest.param(200, 500, id="the total that was shown"),
        pytest.param(500, 500, id="points pay all"),
    ],
)
def test_an_order_of_the_total_that_was_shown_is_accepted(points_amount, expected):
    pricing.check_total(500, points_amount=points_amount, expected_total_amount=expected)


def test_more_points_than_the_total_are_invalid():
    with pytest.raises(Invalid) as refusal:
        pricing.check_total(500, points_amount=501, expected_total_amount=None)

    assert [error["code"] for error in refusal.value.extra["errors"]] == ["over_total"]


@pytest.mark.parametrize("expected", [0, 499, 501])
def test_an_order_whose_buyer_was_shown_another_total_is_refused(expected):
    with pytest.raises(Rejected) as refusal:
        pricing.check_total(500, points_amount=0, expected_total_amount=expected)

    assert (refusal.value.code, refusal.value.extra) == ("total_changed", {"total_amount": 500})


@pytest.mark.parametrize(
    ("points_amount", "card_amount", "token"),
    [
        pytest.param(0, 500, "tok", id="by card"),
        pytest.param(100, 0, "", id="by all points"),
        pytest.param(0, 500, None, id="later"),
    ],
)
def test_an_order_whose_means_are_there_is_accepted(points_amount, card_amount, token):
    pricing.check_means(points_amount, card_amount, balance_amount=100, token=token)


def test_an_order_of_more_points_than_the_wallet_holds_is_refused():
    with pytest.raises(Rejected) as refusal:
        pricing.check_means(101, 0, balance_amount=100, token="tok")

    assert refusal.value.code == "insufficient_points"


def test_an_order_that_is_paid_at_once_needs_a_card_for_what_points_leave():
    with pytest.raises(Invalid) as refusal:
        pricing.check_means(0, 1, balance_amount=0, token="")

    assert [error["field"] for error in refusal.value.extra["errors"]] == ["payment.token"]


@pytest.mark.parametrize(("is_use", "uses"), [(True, [(7, ORDER)]), (False, [])])
def test_an_account_has_ordered_once_an_order_of_its_batch_is_placed(is_use, uses):
    firsts = FirstOrders()

    firsts.add(7, ORDER, is_use=is_use)

    assert (firsts.have_ordered, firsts.new_uses) == ({7}, uses)


def test_new_uses_replace_the_past_ones_of_their_accounts():
    firsts = FirstOrders(past_uses={7: 12, 8: 11, 9: 10}, new_uses=[(7, ORDER), (8, ORDER), (6, ORDER)])

    assert firsts.replaced_uses() == [11, 12]


@pytest.mark.parametrize(
    ("what", "after", "age_days", "counts"),
    [
        pytest.param("campaign.created", {}, 29, True, id="a campaign"),
        pytest.param("product.changed", {"price": 1}, 1, True, id="a price, a day ago"),
        pytest.param("product.changed", {"price": 1}, 1.1, False, id="a price, longer ago"),
        pytest.param("product.changed", {"name": "Tea"}, 0, False, id="a name"),
        pytest.param("product.created", None, 0, False, id="nothing"),
    ],
)
def test_terms_of_campaigns_and_prices_that_were_set_lately_count(what, after, age_days, counts):
    assert own_terms.has_set(what, after, NOW - timedelta(days=age_days), now=NOW) is counts


def test_staff_do_not_buy_on_their_own_terms():
    with pytest.raises(NotAllowed) as refusal:
        own_terms.check({(7, "product 1")}, 7, ["product 2", "product 1"])

    assert refusal.value.code == "own_account"


@pytest.mark.parametrize(("account_id", "subject"), [(8, "product 1"), (7, "product 2")])
def test_terms_of_others_and_of_other_products_refuse_nothing(account_id, subject):
    own_terms.check({(7, "product 1")}, account_id, [subject])
