"""Coupons for first orders: which orders are an account's first, and that no two of them use a coupon."""

from functools import partial
from itertools import chain

import pytest

from coupons.models import Coupon, FirstOrderUse
from coupons.tests.factories import accounts
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.tests.racing import race, race_each
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import checkout, decisions, rows as placement_rows
from orders.placement.decisions import OrderRequest
from orders.placement.strategies import group_commit
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def product():
    return ProductFactory(on_hand=1_000, price=5_000)


def first_order_code(buyer) -> str:
    """The code of a coupon that the account has of a new campaign for first orders."""
    return buying.coupon_code(buyer, first_order_only=True)


def request_of(buyer, product) -> OrderRequest:
    """An order by a coupon for first orders."""
    return buying.order_request(buyer, product, coupon=first_order_code(buyer))


def is_refused(buyer, product, code: str) -> bool:
    """Whether the coupon is refused because the order is not the account's first."""
    try:
        buying.place(buyer, product, coupon=code)
    except Rejected as error:
        assert (error.code, error.extra["reason"]) == ("coupon_not_usable", "not_first_order")
        return True
    return False


@buying.by_two_strategies
def test_open_and_paid_orders_count_and_those_that_ended_unpaid_or_were_refunded_do_not(strategy, product):
    buyer = buying.account()
    code = first_order_code(buyer)
    first = buying.place(buyer, product)
    assert is_refused(buyer, product, code)
    buying.cancel(first)

    declined = buying.buy(buyer, product, token="tok_declined")
    assert declined.status == Order.Status.PAYMENT_FAILED
    paid = buying.buy(buyer, {product: 2})
    assert is_refused(buyer, product, code)
    buying.refunded(paid, product)
    assert is_refused(buyer, product, code), "a part of it is still bought"
    buying.refunded(paid)

    assert not is_refused(buyer, product, code)


@buying.by_two_strategies
def test_the_coupon_may_be_used_again_after_its_order_ended_and_after_a_refund_of_all(strategy, product):
    buyer = buying.account()
    code, other = first_order_code(buyer), first_order_code(buyer)
    first = buying.place(buyer, product, coupon=code)
    assert is_refused(buyer, product, other)
    buying.cancel(first)
    # The row of the past order gives way to the new one.
    assert FirstOrderUse.objects.get().order_id == first.order.id

    paid = buying.buy(buyer, product, coupon=code)
    assert is_refused(buyer, product, other)
    buying.refunded(paid)
    last = buying.place(buyer, product, coupon=other)

    assert [use.order_id for use in FirstOrderUse.objects.all()] == [last.order.id]


def test_the_second_of_two_orders_in_a_batch_is_not_the_first(product):
    buyers = accounts(2)
    with_coupon = [request_of(buyer, product) for buyer in buyers]
    plain = [buying.order_request(buyer, product) for buyer in buyers]
    requests = [plain[0], with_coupon[0], with_coupon[1], plain[1]]

    outcomes = transactions.run(partial(decisions.decide, requests), transactions.KEYED)

    assert buying.reasons(outcomes) == {"PlacedOrder": 3, "not_first_order": 1}
    assert isinstance(outcomes[1], Rejected)


def test_of_ten_concurrent_first_orders_of_an_account_with_ten_coupons_one_uses_its_coupon(
    strategy, settings, product
):
    settings.OPTIMISTIC_RETRIES = 100
    buyers = accounts(4)
    requests = [request_of(buyer, product) for _ in range(10) for buyer in buyers]

    outcomes = race_each(checkout.place, requests)

    assert buying.reasons(outcomes) == {"PlacedOrder": 4, "not_first_order": 36}
    assert Coupon.objects.filter(status="held").count() == 4


def test_first_orders_of_an_account_for_different_products_in_batches_of_their_own_use_one_coupon():
    """They share no locked row, as in several processes, so the unique key decides."""
    buyer = buying.account().id
    requests = [request_of(buyer, other) for other in ProductFactory.create_batch(8, on_hand=5)]

    outcomes = race_each(lambda request: decisions.place_one(request, is_locked=False), requests)

    assert buying.reasons(outcomes) == {"PlacedOrder": 1, "not_first_order": 7}


def test_a_first_order_that_another_process_was_faster_with_does_not_break_its_batch():
    """Each batch is decided again as a whole: its neighbours are not placed one by one."""
    buyer = buying.account().id
    batches = [
        [request_of(buyer, other), buying.request_of_newcomer(other)]
        for other in ProductFactory.create_batch(4, on_hand=5)
    ]

    outcomes = race_each(group_commit.place_batch, batches)

    assert buying.reasons([*chain.from_iterable(outcomes)]) == {"PlacedOrder": 5, "not_first_order": 3}


def test_reading_the_accounts_orders_alone_uses_several_coupons(monkeypatch, unlawful):
    """The naive twin: no unique key. The audit names the orders."""
    buyer = buying.account().id
    requests = [request_of(buyer, other) for other in ProductFactory.create_batch(2, on_hand=5)]
    read = placement_rows.read_first_orders
    monkeypatch.setattr(placement_rows, "write_first_orders", lambda uses: None)

    def read_before_the_other_writes(account_ids):
        found = read(account_ids)
        if account_ids and requests:
            race([partial(decisions.place_one, requests.pop(), is_locked=False)])
        return found

    first = requests.pop()
    monkeypatch.setattr(placement_rows, "read_first_orders", read_before_the_other_writes)
    decisions.place_one(first, is_locked=False)

    assert Coupon.objects.filter(status="held").count() == 2
    [broken] = buying.broken_laws()
    assert (broken.law, {*broken.offenders}) == ("L6", {str(one.pk) for one in Order.objects.all()})
