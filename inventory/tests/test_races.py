"""Races for stock by real threads on real connections, each with a naive version that breaks the law."""

import threading
from collections import Counter
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, transaction

from accounts.tests.clients import client_of
from foundation import clock
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import Answer, KeyedCall, Replay
from foundation.tests.factories import AccountFactory, OrderFactory, SuperuserFactory, reloaded
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, race_each
from inventory import adjustments, audit, products, rows as stock_rows, stock_levels
from inventory.availability import Line
from inventory.models import Product, StockMovement
from inventory.tests import factories
from inventory.tests.factories import ProductFactory, levels_of

pytestmark = pytest.mark.django_db(transaction=True)


def reserve(*lines: Line) -> str:
    """What placing an order does with stock, in one transaction that is not repeated."""
    with transaction.atomic():
        factories.reserve(*lines)
    return "reserved"


def reserve_without_lock(*lines: Line) -> str:
    """The same without a lock: written only if the versions are unchanged, and repeated otherwise."""
    while True:
        try:
            with transaction.atomic():
                stock = stock_rows.read_stock(line.product_id for line in lines)
                factories.check_and_reserve(stock, lines, is_locked=False)
            return "reserved"
        except transactions.ChangedMeanwhile:
            continue


both_ways = pytest.mark.parametrize("reserve", [reserve, reserve_without_lock])


def counts(outcomes: list[Any]) -> Counter[str]:
    return Counter(
        getattr(one, "code", None) or (one if isinstance(one, str) else repr(one)) for one in outcomes
    )


def laws_hold() -> bool:
    return all(one.holds for one in audit.audit())


@pytest.mark.parametrize(
    ("buyers", "reserve"), [(100, reserve), (101, reserve), (200, reserve), (101, reserve_without_lock)]
)
def test_exactly_100_are_reserved_of_stock_100(buyers, reserve):
    product = ProductFactory(on_hand=100)
    outcomes = counts(race([lambda: reserve(Line(product.id, 1))] * buyers))
    assert outcomes == +Counter(reserved=100, insufficient_stock=buyers - 100)
    assert levels_of(product) == (100, 100)
    assert laws_hold()


def test_the_naive_way_sells_stock_of_100_to_200_buyers():
    """Read, decide, write: all requests decide on the same number."""
    product = ProductFactory(on_hand=100)
    all_have_read = threading.Barrier(200, timeout=60)

    def reserve_naively():
        mine = reloaded(product)
        all_have_read.wait()
        if mine.available < 1:
            return "insufficient_stock"
        mine.reserved += 1
        mine.save()
        return "reserved"

    assert counts(race([reserve_naively] * 200)) == Counter(reserved=200)
    assert levels_of(product) == (100, 1)


@both_ways
def test_reservations_in_opposite_order_never_deadlock(reserve):
    first, second = ProductFactory(on_hand=1_000), ProductFactory(on_hand=1_000)
    forth = Line(first.id, 1), Line(second.id, 1)
    outcomes = race_each(lambda lines: reserve(*lines), [forth, forth[::-1]] * 40)
    assert counts(outcomes) == Counter(reserved=80)
    assert levels_of(first) == levels_of(second) == (1_000, 80)


def test_locking_line_by_line_in_opposite_order_deadlocks():
    first, second = ProductFactory(on_hand=10), ProductFactory(on_hand=10)
    both_hold_one = threading.Barrier(2, timeout=60)

    def reserve_line_by_line(mine, other):
        with transaction.atomic():
            Product.objects.select_for_update().get(id=mine)
            both_hold_one.wait()
            Product.objects.select_for_update().get(id=other)

    pairs = [(first.id, second.id), (second.id, first.id)]
    outcomes = race_each(lambda pair: reserve_line_by_line(*pair), pairs)
    lost = [one for one in outcomes if isinstance(one, OperationalError)]
    assert [error.args[0] for error in lost] == [1213], "a deadlock"


@both_ways
def test_orders_releases_sales_and_returns_at_once_keep_every_law(reserve):
    products = ProductFactory.create_batch(5, on_hand=200)
    orders = [OrderFactory().pk for _ in range(60)]

    def live(order, index):
        chosen = products[index % 5 :] + products[: index % 5]
        lines = [Line(product.id, 1 + index % 3) for product in chosen]
        transactions.run(lambda: reserve(*lines), transactions.KEYED)
        if index % 3 == 0:
            transactions.run(lambda: stock_levels.release(lines[::-1]), transactions.KEYED)
            return
        transactions.run(lambda: stock_levels.sell({order: lines}, at=clock.now()), transactions.KEYED)
        if index % 3 == 1:
            transactions.run(lambda: stock_levels.restock({order: lines[::-1]}, "refund"), transactions.KEYED)

    assert race([partial(live, order, index) for index, order in enumerate(orders)]) == [None] * 60
    sold_for_good = sum(1 + index % 3 for index in range(60) if index % 3 == 2)
    assert [levels_of(product) for product in products] == [(200 - sold_for_good, 0)] * 5
    assert laws_hold()


@both_ways
def test_adjustments_against_reservations_never_go_below_what_is_reserved(reserve):
    product = ProductFactory(on_hand=60)

    def shrink():
        adjustments.adjust(product_id=product.id, delta=-1, reason="broken")
        return "shrunk"

    calls = [shrink, lambda: reserve(Line(product.id, 1))]
    outcomes = counts(race(calls * 50))
    assert outcomes["shrunk"] + outcomes["reserved"] == 60
    assert outcomes["insufficient_stock"] == 40
    assert levels_of(product) == (60 - outcomes["shrunk"], outcomes["reserved"])
    assert laws_hold()


def test_50_equal_keyed_adjustments_at_once_are_one_movement():
    product = ProductFactory(on_hand=5)
    staff = SuperuserFactory()
    path = f"/products/{product.id}/stock-adjustments"

    def adjust():
        return client_of(staff).post(path, {"delta": -5, "reason": "count"}, key="one")

    outcomes = race([adjust] * 50)
    assert {(one.status_code, one.content) for one in outcomes} == {(201, outcomes[0].content)}
    assert sum("Idempotency-Replayed" not in one for one in outcomes) == 1
    assert StockMovement.objects.filter(kind="adjusted").count() == 1
    assert levels_of(product) == (0, 0)
    assert laws_hold()


def test_without_any_claim_the_database_alone_admits_one_of_10_equal_calls():
    """Several processes without Redis: no claim is shared, and all take the last of the stock."""
    product = ProductFactory(on_hand=5)
    call = KeyedCall(AccountFactory().id, "k" * 64, "f" * 64, lambda movement: Answer(201, b"{}"))
    all_found_no_twin = threading.Barrier(10, timeout=60)

    def adjust():
        all_found_no_twin.wait()
        return adjustments.adjust(product_id=product.id, delta=-5, reason="count")

    outcomes = race([lambda: recorded_answers.run_once(call, adjust)] * 10)
    assert Counter(type(one) for one in outcomes) == Counter({StockMovement: 1, Replay: 9})
    assert levels_of(product) == (0, 0)


def test_adjusting_without_the_lock_loses_concurrent_changes():
    """The naive version: both read 10, and one of the two deliveries is lost."""
    product = ProductFactory(on_hand=10)
    all_have_read = threading.Barrier(2, timeout=60)

    def receive_naively():
        mine = reloaded(product)
        all_have_read.wait()
        mine.on_hand += 5
        mine.save()
        received = {"kind": "received", "delta": 5, "on_hand_after": mine.on_hand}
        StockMovement.objects.create(product=mine, at=mine.created_at, **received)

    assert race([receive_naively] * 2) == [None] * 2
    assert levels_of(product) == (15, 0)
    assert [one.law for one in audit.audit() if not one.holds] == ["L5"]


def test_a_refused_reservation_keeps_no_lock():
    product = ProductFactory(on_hand=1)
    with pytest.raises(Rejected):
        reserve(Line(product.id, 2))
    assert race([lambda: reserve(Line(product.id, 1))]) == ["reserved"]


@pytest.fixture
def product():
    return ProductFactory(sku="TEA", price=7, on_hand=5)


@pytest.fixture
def _loss(product, tmp_path):
    """The answer to the test's first COMMIT is lost; the product exists before it."""
    with losing_reply_to_commit(tmp_path) as is_lost:
        yield
        assert is_lost.is_set()
    assert all(one.holds for one in audit.audit())


def test_a_created_product_is_returned_and_not_refused_for_its_own_sku(_loss):
    made = products.create(sku="CUP", name="Cup", price=9)
    assert Product.objects.get(sku="CUP").pk == made.pk


def test_a_changed_product_is_changed_once(product, _loss):
    changed = products.change(product_id=product.pk, price=8)
    assert (changed.price, changed.version) == (8, product.version + 1)
    assert reloaded(product).version == product.version + 1


def test_goods_are_received_once(product, _loss):
    assert adjustments.receive(product_id=product.pk, quantity=100, reason="delivery").on_hand_after == 105
    assert reloaded(product).on_hand == 105
    assert StockMovement.objects.filter(reason="delivery").count() == 1


def test_a_count_is_corrected_once(product, _loss):
    assert adjustments.adjust(product_id=product.pk, delta=-3, reason="broken").on_hand_after == 2
    assert reloaded(product).on_hand == 2
