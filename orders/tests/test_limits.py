"""Purchase limits: how much of a product one account may hold, and reserve without paying."""

from collections import Counter
from functools import partial

import pytest
from django.db import connection
from uuid_utils.compat import uuid7

from accounts.tests.clients import client_of, problem_of
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import Replay
from foundation.models import IdempotencyKey
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import ask, holding
from foundation.tests.second_process import starts_another_process
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import in_background
from inventory import products, rows as stock_rows
from inventory.availability import Line
from inventory.tests.factories import ProductFactory
from orders import cancellation, selectors
from orders.models import Order, OrderLine
from orders.placement import checkout, rows as placement_rows
from orders.placement.decisions import PlacedOrder
from orders.placement.strategies import group_commit
from orders.selectors import AccountUsage, ProductUsage
from orders.tests import buying
from orders.tests.buying import kinds, order_of
from orders.tests.selling import sell_at_once, two_sellers
from orders.tests.waiting import somebody_waits_at_the_stock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _patience(settings):
    """Raises the retries: all of these races compete for one row, where `optimistic` retries often."""
    settings.OPTIMISTIC_RETRIES = 500


def refusal(buyer, wanted) -> FirstcomeError:
    return buying.refusal_of(partial(checkout.place, buying.order_request(buyer, wanted)))


def test_three_unpaid_orders_of_1000_units_do_not_take_all_3000(settings):
    product, buyer = buying.product_and_buyer(on_hand=3_000)
    api, body = client_of(buyer), order_of(product, quantity=1_000)
    assert api.post("/orders", body, key="first").status_code == 201
    for key in ("second", "third"):
        answer = api.post("/orders", body, key=key)
        assert problem_of(answer) == (409, "purchase_limit_reached")
        assert answer.json()["items"] == [{"product": product.id, "limit": 1_000, "held": 1_000}]
    product.refresh_from_db()
    assert product.available == 2_000
    assert not IdempotencyKey.objects.exclude(account=buyer, reference=Order.objects.get().id).exists()


def test_units_of_unpaid_orders_count_and_those_of_paid_and_cancelled_ones_do_not(settings):
    settings.OPEN_UNITS_PER_ACCOUNT = 3
    product, other = ProductFactory.create_batch(2, on_hand=20)
    buyer = buying.account()
    first = buying.place(buyer, {product: 2, other: 1})
    assert refusal(buyer, {product: 2, other: 2}).extra["items"] == [
        {"product": product.id, "limit": 3, "held": 2}
    ]
    buying.place(buyer, {other: 2})
    buying.place_for_newcomer(product, 2)
    buying.cancel(first)
    buying.buy(buyer, {product: 3})
    buying.place(buyer, {product: 3})


def test_an_account_has_at_most_20_unpaid_orders():
    product, buyer = buying.product_and_buyer(on_hand=50)
    api, body = client_of(buyer), order_of(product)
    placed = [api.post("/orders", body, key=f"key-{number}") for number in range(20)]
    assert {one.status_code for one in placed} == {201}
    answer = api.post("/orders", body, key="one too many")
    assert problem_of(answer) == (409, "too_many_open_orders")
    assert answer.json()["limit"] == 20
    assert "Retry-After" not in answer
    repeated = api.post("/orders", body, key="key-7")
    assert (repeated.status_code, repeated["Idempotency-Replayed"]) == (201, "true")
    api.post(f"/orders/{placed[0].json()['id']}/cancel")
    assert api.post("/orders", body, key="one too many").status_code == 201


def test_a_batch_counts_the_orders_it_has_just_placed(settings):
    settings.OPEN_ORDERS_PER_ACCOUNT = 2
    product, buyer = buying.product_and_buyer(on_hand=9, limit_per_account=3)
    order_requests = [buying.order_request(buyer, {product: quantity}) for quantity in (2, 2, 1, 1)]
    outcomes = group_commit.place_batch(order_requests)
    over = "purchase_limit_reached", "too_many_open_orders"
    assert [isinstance(one, PlacedOrder) for one in outcomes] == [True, False] * 2
    assert (outcomes[1].code, outcomes[3].code) == over
    assert outcomes[1].extra["items"] == [{"product": product.id, "limit": 3, "held": 2}]


@buying.by_two_strategies
def test_an_account_cannot_exceed_a_products_limit(strategy):
    product, buyer = buying.product_and_buyer(on_hand=20, limit_per_account=4)
    assert refusal(buyer, {product: 5}).extra["items"] == [{"product": product.id, "limit": 4, "held": 0}]
    buying.place(buyer, product)
    paid = buying.buy(buyer, {product: 3})
    assert refusal(buyer, product).extra["items"] == [{"product": product.id, "limit": 4, "held": 4}]
    buying.place_for_newcomer(product, 4)
    buying.refunded(paid, {product: 2})
    buying.place(buyer, {product: 2})
    assert refusal(buyer, product).code == "purchase_limit_reached"


def test_each_line_keeps_the_limit_under_which_it_was_placed():
    product, buyer = buying.product_and_buyer(on_hand=20, limit_per_account=4)
    buying.place(buyer, {product: 4})
    products.change(product_id=product.id, limit_per_account=6)
    buying.place(buyer, {product: 2})
    products.change(product_id=product.id, limit_per_account=1)
    assert refusal(buyer, product).extra["items"] == [{"product": product.id, "limit": 1, "held": 6}]
    assert buying.broken_laws() == []
    products.change(product_id=product.id, limit_per_account=None)
    buying.place(buyer, {product: 3})
    kept = OrderLine.objects.order_by("id").values_list("limit_per_account", flat=True)
    assert list(kept) == [4, 6, None]


def test_40_orders_at_once_of_one_account_are_held_to_the_limit(strategy):
    product, buyer = buying.product_and_buyer(on_hand=100, limit_per_account=7)
    calls = [partial(checkout.place, buying.order_request(buyer, {product: 2})) for _ in range(40)]
    assert kinds(race(calls)) == {"PlacedOrder": 3, "purchase_limit_reached": 37}
    assert OrderLine.objects.filter(order__account=buyer).count() == 3


def test_40_orders_at_once_of_an_account_that_is_read_by_itself_are_held_to_the_limit(strategy, monkeypatch):
    """As one with many orders is."""
    monkeypatch.setattr(
        placement_rows, "WITH_MANY_ORDERS", placement_rows.WITH_MANY_ORDERS.replace("OFFSET 1000", "")
    )
    product, buyer = buying.product_and_buyer(on_hand=100, limit_per_account=5)
    buying.place(buyer, product)
    calls = [partial(checkout.place, buying.order_request(buyer, product)) for _ in range(40)]
    assert kinds(race(calls)) == {"PlacedOrder": 4, "purchase_limit_reached": 36}


def test_all_strategies_at_once_hold_one_account_to_the_limit(settings):
    settings.INVENTORY_STRATEGY = "redis_gate"
    first, second = ProductFactory.create_batch(2, on_hand=100, limit_per_account=5)
    buyer, calls = buying.account(), []
    for index in range(40):
        place = list(checkout.STRATEGIES.values())[index % 4]
        lines = {first: 1, second: 1} if index % 2 else {second: 1, first: 1}
        calls.append(partial(place, buying.order_request(buyer, lines)))
    assert kinds(race(calls)) == {"PlacedOrder": 5, "purchase_limit_reached": 35}


@starts_another_process
def test_two_processes_sell_one_account_no_more_than_its_limit():
    found = {}
    with two_sellers() as sellers:
        for strategy in checkout.STRATEGIES:
            product, buyer = buying.product_and_buyer(on_hand=100, limit_per_account=9)
            parts = ([buyer.id] * 20,) * 2
            found[strategy] = sell_at_once(sellers, product, parts, strategy=strategy, quantity=2)
    exact = {"PlacedOrder": 4, "purchase_limit_reached": 36}
    assert found == dict.fromkeys(checkout.STRATEGIES, exact)


def test_a_limit_that_is_lowered_meanwhile_binds_the_orders_after_it(strategy):
    """The limit is changed while the order has read the product, or waits for its lock."""
    product, buyer = buying.product_and_buyer(on_hand=9, limit_per_account=5)
    lower = "UPDATE inventory_product SET limit_per_account = 2, version = version + 1 WHERE id = %s"
    with holding(lower, product.id) as other:
        outcome = in_background(partial(refusal, buyer, {product: 3}))
        wait_until(somebody_waits_at_the_stock)
        other.commit()
    assert outcome.result(10).extra["items"] == [{"product": product.id, "limit": 2, "held": 0}]
    assert not Order.objects.exists()


@buying.by_two_strategies
def test_a_repeat_at_the_limit_gets_the_recorded_answer(strategy):
    product, buyer = buying.product_and_buyer(on_hand=9, limit_per_account=2)
    order_request = buying.order_request(buyer, {product: 2})
    outcomes = race([partial(checkout.place, order_request) for _ in range(10)])
    assert Counter(type(one) for one in outcomes) == {PlacedOrder: 1, Replay: 9}


def test_what_operators_see_is_the_count_by_which_the_next_order_is_decided(unlawful):
    """Unpaid units of all products, and all units of limited ones."""
    tea = ProductFactory(sku="TEA", on_hand=50, limit_per_account=9)
    cup, buyer = ProductFactory(sku="CUP", on_hand=50), buying.account()
    paid = buying.order(buyer, {tea: 4, cup: 4})
    buying.change_order(paid, status="paid", paid_at=paid.placed_at)
    OrderLine.objects.filter(order=paid.id, product=tea).update(refunded_quantity=1)
    buying.place(buyer, {tea: 2, cup: 1})
    cancelled = buying.order(buyer, tea)
    cancellation.cancel(order_id=cancelled.id, account_id=buyer.id)
    buying.place_for_newcomer(tea, 5)

    usage = selectors.read_usage(buyer.pk)

    products = [ProductUsage(tea.pk, "TEA", 9, 2, 5), ProductUsage(cup.pk, "CUP", None, 1, 1)]
    assert usage == AccountUsage(1, products, True)
    assert refusal(buyer, {tea: 5}).extra["items"] == [{"product": tea.pk, "limit": 9, "held": 5}]


def test_more_orders_or_products_than_are_read_are_said_to_be_more(monkeypatch):
    tea, cup = (ProductFactory(sku=sku, on_hand=50) for sku in ("TEA", "CUP"))
    buyer = buying.account()
    for _ in range(3):
        buying.place(buyer, {tea: 1, cup: 2})
    monkeypatch.setattr(selectors, "MOST_ORDERS", 2)
    usage = selectors.read_usage(buyer.pk)
    assert (usage.unpaid_orders, usage.is_complete) == (3, False)
    assert [(one.sku, one.unpaid_units) for one in usage.products] == [("CUP", 4), ("TEA", 2)]
    monkeypatch.setattr(selectors, "MOST_ORDERS", 9)
    monkeypatch.setattr(selectors, "MOST_PRODUCTS", 1)
    usage = selectors.read_usage(buyer.pk)
    assert ([one.sku for one in usage.products], usage.is_complete) == (["CUP"], False)


def _reads_of(work):
    """How many rows and index entries the server looks up, one after another ones apart."""
    before = dict(ask(connection, "SHOW SESSION STATUS LIKE 'Handler_read_%%'"))
    work()
    after = dict(ask(connection, "SHOW SESSION STATUS LIKE 'Handler_read_%%'"))
    return int(after["Handler_read_key"]) - int(before["Handler_read_key"])


def test_an_account_with_thousands_of_orders_costs_its_neighbours_no_look_at_each(unlawful):
    limited, others = ProductFactory(on_hand=50, limit_per_account=9), ProductFactory()
    buyer, neighbour = buying.account(), buying.account()
    for one in (buyer, neighbour):
        buying.place(one, {limited: 2})
    [like] = Order.objects.filter(account=buyer)
    copies = [
        Order(**{field.attname: getattr(like, field.attname) for field in Order._meta.fields})
        for _ in range(3_000)
    ]
    for copy in copies:
        copy.id, copy.number = uuid7(), None
        copy.status = Order.Status.PAID
        copy.paid_at = copy.placed_at
    Order.objects.bulk_create(copies)
    line = {"product": others, "sku": "x", "name": "x", "quantity": 1, "unit_price": 1, "line_amount": 1}
    OrderLine.objects.bulk_create(OrderLine(order=copy, **line) for copy in copies)
    purchases = [(one.id, (Line(limited.pk, 1),)) for one in (buyer, neighbour)]
    found = []
    stock = stock_rows.read_stock([limited.pk])

    reads = _reads_of(lambda: found.append(placement_rows.read_holdings(purchases, stock)))

    assert reads < 300
    assert [held.limited_units for held in found[0].values()] == [{limited.pk: 2}] * 2


def test_paid_orders_of_long_ago_are_read_only_where_a_product_has_a_limit():
    free, limited = ProductFactory(on_hand=9), ProductFactory(on_hand=9, limit_per_account=2)
    buyer = buying.account()
    for product, is_read in ((free, False), (limited, True)):
        with captured_statements() as captured:
            buying.place(buyer, product)
        assert any("'paid'" in statement for statement in captured) == is_read
