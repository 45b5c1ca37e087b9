"""What a coupon takes off, and when an order may use it, by values alone."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from coupons import eligibility, redemption
from coupons.redemption import Discount, OpensSoon
from coupons.tests.rules.states import MOMENT, NOW, campaign
from foundation.errors import Held, Rejected

pytestmark = pytest.mark.rules


def amount_off(value: int, *, minimum=0, most: int | None = None) -> Discount:
    return Discount(value, is_percent=False, min_order_amount=minimum, max_amount=most)


def percent_off(value: int, *, most: int | None = None) -> Discount:
    return Discount(value, is_percent=True, min_order_amount=0, max_amount=most)


def refusal(call: Callable[..., Any], *given, **named) -> Rejected:
    with pytest.raises(Rejected) as refused:
        call(*given, **named)
    assert refused.value.code == "coupon_not_usable"
    return refused.value


@pytest.mark.parametrize(
    ("discount", "items_amount", "expected"),
    [
        pytest.param(amount_off(1_000), 5_000, 1_000, id="an amount"),
        pytest.param(amount_off(1_000), 1_000, 1_000, id="an amount of all items"),
        pytest.param(amount_off(1_000), 999, 999, id="never more than the items"),
        pytest.param(amount_off(1_000), 0, 0, id="nothing of nothing"),
        pytest.param(amount_off(1_000, most=600), 5_000, 600, id="an amount up to its limit"),
        pytest.param(amount_off(1_000, most=1_500), 5_000, 1_000, id="an amount below its limit"),
        pytest.param(percent_off(10), 5_000, 500, id="per cent"),
        pytest.param(percent_off(10), 5_009, 500, id="per cent round down"),
        pytest.param(percent_off(33), 2, 0, id="per cent of little"),
        pytest.param(percent_off(100), 5_009, 5_009, id="all"),
        pytest.param(percent_off(50, most=700), 1_399, 699, id="per cent below their limit"),
        pytest.param(percent_off(50, most=700), 9_999, 700, id="per cent up to their limit"),
        pytest.param(percent_off(29), 10**17 + 3, 29 * 10**15, id="per cent of much, exactly"),
        pytest.param(amount_off(1_000, minimum=5_000), 5_000, 1_000, id="at the minimum"),
    ],
)
def test_the_discount(discount, items_amount, expected):
    assert redemption.discount_amount(discount, items_amount=items_amount) == expected


def test_an_order_below_the_minimum_gets_no_discount():
    refused = refusal(redemption.discount_amount, amount_off(1, minimum=5_000), items_amount=4_999)

    assert refused.extra["reason"] == "below_minimum"


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        pytest.param(None, [100, 20, 3], id="over all"),
        pytest.param(frozenset({2}), [0, 20, 0], id="over one"),
        pytest.param(frozenset({1, 3, 9}), [100, 0, 3], id="over those that the order has"),
    ],
)
def test_a_discount_counts_over_the_lines_of_its_products(products, expected):
    amounts = redemption.discounted_amounts(products, product_ids=[1, 2, 3], line_amounts=[100, 20, 3])

    assert amounts == expected


def test_an_order_without_a_product_of_the_discount_is_refused():
    lines = {"product_ids": [1, 2], "line_amounts": [100, 20]}

    refused = refusal(redemption.discounted_amounts, frozenset({3}), **lines)

    assert refused.extra["reason"] == "no_eligible_item"


@pytest.mark.parametrize(
    ("status", "left", "shown"),
    [
        pytest.param("issued", MOMENT, "issued", id="issued, until it expires"),
        pytest.param("issued", timedelta(), "expired", id="issued, from then on"),
        pytest.param("held", timedelta(), "held", id="a held one doesn't expire"),
        pytest.param("redeemed", -timedelta(days=1), "redeemed", id="nor a redeemed one"),
        pytest.param("void", -timedelta(days=1), "void", id="nor a void one"),
    ],
)
def test_the_status_that_a_customer_sees(status, left, shown):
    assert redemption.status_at(status, NOW + left, NOW) == shown


@pytest.mark.parametrize(
    ("left", "is_valid"),
    [
        pytest.param(MOMENT, True, id="before its end"),
        pytest.param(timedelta(), False, id="at its end"),
        pytest.param(-MOMENT, False, id="after its end"),
    ],
)
def test_a_coupon_is_reinstated_until_it_expires(left, is_valid):
    assert redemption.is_valid(NOW + left, NOW) is is_valid


@pytest.mark.parametrize("status", ["held", "redeemed", "void"])
def test_an_order_takes_no_coupon_of_another_status(status):
    refused = refusal(redemption.require_issued, status, NOW + MOMENT, now=NOW)

    assert refused.extra["reason"] == status


def test_an_order_takes_an_issued_coupon():
    redemption.require_issued("issued", NOW + MOMENT, now=NOW)


def test_an_order_takes_no_expired_coupon():
    refused = refusal(redemption.require_issued, "issued", NOW, now=NOW)

    assert refused.extra["reason"] == "expired"


@pytest.mark.parametrize(
    ("opens_in", "kind"),
    [
        pytest.param(MOMENT, OpensSoon, id="soon"),
        pytest.param(timedelta(days=1), OpensSoon, id="in a day"),
        pytest.param(timedelta(days=1) + MOMENT, Rejected, id="later"),
    ],
)
def test_a_shared_code_is_not_found_before_its_campaign_opens(opens_in, kind):
    scheduled = campaign(opens_at=NOW + opens_in)

    refused = refusal(
        redemption.require_new, scheduled, eligibility.refusal_of_campaign(scheduled, NOW), new=0, now=NOW
    )

    assert (refused.extra["reason"], type(refused)) == ("not_found", kind)


def test_a_shared_code_gives_a_coupon_from_the_opening_on():
    redemption.require_new(campaign(opens_at=NOW), None, new=0, now=NOW)


@pytest.mark.parametrize("new", [0, 6], ids=["the first of a batch", "the last slot"])
def test_a_shared_code_gives_a_coupon_while_a_slot_is_left(new):
    redemption.require_new(campaign(capacity=10, taken=3), None, new=new, now=NOW)


def test_a_shared_code_is_sold_out_once_the_orders_of_the_batch_took_the_rest():
    refused = refusal(redemption.require_new, campaign(capacity=10, taken=3), None, new=7, now=NOW)

    assert refused.extra["reason"] == "sold_out"


def test_an_account_that_is_not_eligible_gets_the_reason_also_where_nothing_is_left():
    not_listed = Rejected("Not listed.", code="not_eligible")

    refused = refusal(redemption.require_new, campaign(taken=10), not_listed, new=0, now=NOW)

    assert refused.extra["reason"] == "not_eligible"


def test_a_reason_without_a_text_of_its_own_keeps_that_of_the_refusal():
    barred = Rejected("This account is barred.", code="account_barred")

    refused = refusal(redemption.require_new, campaign(), barred, new=0, now=NOW)

    assert (refused.extra["reason"], str(refused)) == ("account_barred", "This account is barred.")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        pytest.param("held", Held, id="another order holds it"),
        pytest.param("not_first_order", Held, id="an unpaid order is the first"),
        pytest.param("expired", Rejected, id="it expired"),
    ],
)
def test_what_an_unpaid_order_holds_may_be_free_once_that_lapsed(reason, kind):
    refused = redemption.not_usable(reason)

    assert (type(refused), refused.detail) == (kind, redemption.REASONS[reason])
