"""The mirror of stock in a real Redis: which requests are admitted, what is published, and its healing."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from redis.crc import key_slot

from foundation import clock
from foundation.db import transactions
from foundation.observability import gauges
from foundation.redis import redis_client
from foundation.tests.factories import OrderFactory, set_columns
from foundation.tests.racing import race_each
from inventory import adjustments, mirror, products, stock_levels, tasks
from inventory.availability import Line
from inventory.models import Product
from inventory.tests import factories
from inventory.tests.factories import ProductFactory, pause, resume

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _gate(settings):
    settings.INVENTORY_STRATEGY = "redis_gate"


def reservation(request: str, quantities: Mapping[Product, int]) -> mirror.GateReservation:
    return mirror.GateReservation(request, {product.id: count for product, count in quantities.items()})


def shown(product) -> tuple[int, int, int]:
    entry: Any = redis_client.client().hmget(mirror.key(product.id), "available", "version", "taken")
    return tuple(int(value or 0) for value in entry)  # type: ignore[return-value]


def reserve(product, quantity: int):
    transactions.run(lambda: factories.reserve(Line(product.id, quantity)), transactions.KEYED)


def test_all_lines_are_taken_or_none():
    plenty, short = ProductFactory(on_hand=5), ProductFactory(on_hand=1)
    short_lines = mirror.admit(reservation("one", {plenty: 2, short: 2}))
    assert short_lines == [{"product": short.id, "requested": 2, "available": 1}]
    assert (shown(plenty)[2], shown(short)[2]) == (0, 0)
    assert mirror.admit(reservation("two", {plenty: 2, short: 1})) == []
    assert (shown(plenty)[2], shown(short)[2]) == (2, 1)
    both = (plenty, 4, 3), (short, 1, 0)
    expected = [{"product": one.id, "requested": asked, "available": left} for one, asked, left in both]
    assert mirror.admit(reservation("three", {plenty: 4, short: 1})) == expected


def test_a_request_that_is_repeated_takes_nothing_twice():
    product = ProductFactory(on_hand=3)
    assert [mirror.admit(reservation("same", {product: 2})) for _ in range(5)] == [[]] * 5
    assert shown(product)[2] == 2
    mirror.clear_in_flight([reservation("same", {product: 2})])
    mirror.clear_in_flight([reservation("same", {product: 2})])
    assert shown(product)[2] == 0


def test_exactly_as_many_requests_are_admitted_as_units_are_available():
    product = ProductFactory(on_hand=30)
    outcomes = race_each(lambda n: mirror.admit(reservation(str(n), {product: 1})), range(100))
    assert outcomes.count([]) == 30
    assert shown(product)[2] == 30


def test_a_late_load_does_not_count_twice_what_is_in_flight_and_committed():
    """Concurrent requests load an empty mirror several times, and one of them may read after a commit."""
    product = ProductFactory(on_hand=10)
    assert mirror.admit(reservation("first", {product: 1})) == []
    Product.objects.update(reserved=1, version=1)
    assert mirror._load([product.id])
    assert [mirror.admit(reservation(str(n), {product: 1})) for n in range(9)] == [[]] * 9
    assert len(mirror.admit(reservation("eleventh", {product: 1}))) == 1


def test_missing_and_inactive_products_are_left_to_the_database():
    for product in (Product(id=10**9), ProductFactory(is_active=False)):
        assert mirror.admit(reservation(str(product.id), {product: 1})) == []
    assert not redis_client.client().hlen(mirror.IN_FLIGHT)


def test_every_change_of_stock_is_published_after_its_commit():
    product, order = ProductFactory(on_hand=10), OrderFactory().pk
    reserve(product, 4)
    assert shown(product) == (6, 1, 0)
    transactions.run(lambda: stock_levels.release([Line(product.id, 1)]), transactions.KEYED)
    assert shown(product) == (7, 2, 0)
    transactions.run(
        lambda: stock_levels.sell({order: [Line(product.id, 3)]}, at=clock.now()), transactions.KEYED
    )
    assert shown(product) == (7, 3, 0)
    returned = {order: [Line(product.id, 2)]}
    transactions.run(lambda: stock_levels.restock(returned, "refund"), transactions.KEYED)
    assert shown(product) == (9, 4, 0)
    adjustments.adjust(product_id=product.id, delta=-5, reason="broken")
    assert shown(product) == (4, 5, 0)
    adjustments.receive(product_id=product.id, quantity=6, reason="delivery")
    assert shown(product) == (10, 6, 0)
    products.change(product_id=product.id, is_active=False)
    assert mirror.admit(reservation("one", {product: 99})) == []


def test_a_change_that_is_rolled_back_is_never_published():
    product = ProductFactory(on_hand=10)

    def fail():
        factories.reserve(Line(product.id, 4))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transactions.run(fail, transactions.KEYED)
    assert not redis_client.client().exists(mirror.key(product.id))


def test_the_newest_version_wins_in_any_order():
    product = ProductFactory(on_hand=9)
    for version, left in ((2, 7), (5, 4), (3, 6)):
        mirror.publish([mirror.StockState(product.id, left, version, True)])
    assert shown(product)[:2] == (4, 5)


def test_what_crashed_requests_took_is_released_and_running_ones_keep_theirs():
    product = ProductFactory(on_hand=5)
    mirror.admit(reservation("dead", {product: 5}))
    assert mirror.admit(reservation("next", {product: 1})) != []
    assert (mirror.heal(), shown(product)[2]) == (0, 5)
    mirror.heal(now=time.time() + mirror.IN_FLIGHT_SECONDS + 1)
    assert shown(product)[2] == 0
    assert mirror.admit(reservation("next", {product: 5})) == []


def test_what_a_request_from_another_clocks_future_took_is_released():
    """A host whose clock was an hour ahead admitted it, and crashed."""
    cup, saucer = ProductFactory(on_hand=7), ProductFactory(on_hand=9)
    mirror.admit(reservation("ahead", {cup: 7, saucer: 4}))
    mirror.admit(reservation("living", {saucer: 2}))
    record = f'{{"at": {time.time() + 3_600}, "lines": {{"{cup.id}": 7, "{saucer.id}": 4}}}}'
    redis_client.client().hset(mirror.IN_FLIGHT, "ahead", record)
    mirror.heal()
    assert (shown(cup)[2], shown(saucer)[2]) == (0, 2)
    assert redis_client.client().hkeys(mirror.IN_FLIGHT) == [b"living"]


def test_a_wrong_entry_is_counted_and_corrected():
    product = ProductFactory(on_hand=5)
    mirror.admit(reservation("living", {product: 1}))
    wrong = [{"available": 0}, {"available": 99}, {"available": 0, "version": 99}]
    for entry in [*wrong, {"is_active": 0}, {"taken": 4}, {"taken": -4}]:
        assert (mirror.heal(), mirror.drift()) == (0, 0)
        redis_client.client().hset(mirror.key(product.id), mapping=entry)
        assert mirror.heal() == 1, entry
        assert b"firstcome_stock_mirror_drift 1.0" in gauges.exposition()
        mirror.heal()
        assert (shown(product), mirror.drift()) == ((5, 0, 1), 0), entry


def test_a_commit_that_was_not_published_is_found():
    """Redis was away at the commit: the row is newer than the mirror."""
    product = ProductFactory(on_hand=5)
    mirror.publish([mirror.StockState(product.id, 0, 0, True)])
    set_columns(product, version=1)
    assert mirror.admit(reservation("one", {product: 1})) != []
    assert tasks.sweep() == 1
    assert mirror.admit(reservation("one", {product: 1})) == []


def test_an_entry_without_a_product_is_deleted():
    mirror.publish([mirror.StockState(10**9, 5, 1, True)])
    assert mirror.heal() == 1
    assert not redis_client.client().exists(mirror.key(10**9))


def test_a_flushed_mirror_is_loaded_when_it_is_read(redis_server):
    product = ProductFactory(on_hand=5)
    reserve(product, 3)
    redis_server.flushdb()
    [short] = mirror.admit(reservation("one", {product: 3}))
    assert short == {"product": product.id, "requested": 3, "available": 2}


def test_all_keys_are_in_one_slot_of_a_cluster_and_expire():
    product = ProductFactory(on_hand=9)
    mirror.admit(reservation("one", {product: 1, ProductFactory(on_hand=1): 1}))
    keys = redis_client.client().keys("firstcome:{stock}*")
    assert len(keys) == 3
    assert len({key_slot(key) for key in keys}) == 1
    assert all(0 < redis_client.client().ttl(key) <= mirror.SECONDS_KEPT for key in keys)


def test_the_gate_leaves_paused_products_to_the_database_and_counts_none_of_their_units():
    product = ProductFactory(on_hand=1)
    pause(product)

    assert mirror.admit(reservation("one", {product: 9})) == []

    resume(product)
    assert mirror.heal() == 0
    [short] = mirror.admit(reservation("two", {product: 9}))
    assert short == {"product": product.pk, "requested": 9, "available": 1}
    assert mirror.admit(reservation("three", {product: 1})) == []


def test_a_pause_that_did_not_reach_the_mirror_is_corrected_by_healing():
    product = ProductFactory(on_hand=1)
    mirror.rebuild()
    set_columns(product, paused_at="2026-11-20T12:00:00Z")

    assert mirror.heal() == 1

    assert redis_client.client().hget(mirror.key(product.pk), "is_active") == b"0"
    assert mirror.heal() == 0
