"""A product that another transaction keeps locked delays its own orders, and those of no other product."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import pytest
from django.db import IntegrityError

from foundation.concurrency.thread_pool import LEADER_POOL
from foundation.db import stuck_rows, transactions
from foundation.tests import servers
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import holding_row
from foundation.tests.test_batching import Submission
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.placement import checkout
from orders.placement.decisions import PlacedOrder
from orders.placement.strategies.group_commit import BATCHER
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)
ONE_LOCK_WAIT = 5.0
# The few hundred milliseconds for which a batch waits for a row, and the time of some batches.
SOON = 1.5


class Order(Submission):
    """An order of one unit of each of these products, placed by another thread, and how long it took."""

    seconds = 0.0

    def __init__(self, *products):
        super().__init__(BATCHER, buying.order_request(buying.account(), dict.fromkeys(products, 1)))

    def run(self):
        began_at = time.monotonic()
        super().run()
        self.seconds = time.monotonic() - began_at


def products(number: int, *, on_hand=99) -> Sequence[Product]:
    return ProductFactory.create_batch(number, on_hand=on_hand)


def is_placed_soon(order) -> bool:
    return isinstance(order.result(), PlacedOrder) and order.seconds < SOON


def test_orders_of_other_products_do_not_wait_for_a_locked_one():
    before, locked, after = products(3)
    with holding_row(locked):
        batch = [Order(product) for _ in range(8) for product in (before, locked, after)]
        later = []
        for _ in range(6):
            later += [Order(product) for product in (before, locked, after)]
            time.sleep(0.2)
        others = [one for one in batch + later if one.request.lines[0].product_id != locked.pk]
        assert [is_placed_soon(one) for one in others] == [True] * 28
        blocked = [one for one in batch + later if one not in others]
        refusals = [one.result() for one in blocked]
    assert {type(refusal) for refusal in refusals} <= {transactions.LockWaitTimeout}
    assert {(refusal.code, refusal.retry_after) for refusal in refusals} == {("unavailable", 1)}
    assert max(one.seconds for one in blocked) < ONE_LOCK_WAIT + SOON + servers.lateness_of_lock_waits(1)
    wait_until(lambda: not stuck_rows.any_known())
    assert is_placed_soon(Order(locked))
    assert [one.reserved for one in Product.objects.order_by("pk")] == [14, 1, 14]


def test_orders_of_a_locked_product_are_decided_in_the_order_of_arrival_once_it_is_free():
    [locked] = products(1, on_hand=6)
    [other] = products(1)
    with holding_row(locked):
        orders = []
        for number in range(12):
            orders.append(Order(locked))
            wait_until(lambda number=number: waiting_requests() > number)
            assert is_placed_soon(Order(other))
        assert not any(one.outcome for one in orders)
    placed = [isinstance(one.result(), PlacedOrder) for one in orders]
    assert placed == [True] * 6 + [False] * 6
    assert {one.outcome.code for one in orders[6:]} == {"insufficient_stock"}
    wait_until(lambda: not BATCHER.is_busy())


def waiting_requests() -> int:
    lead = BATCHER._lead
    return len(BATCHER._queue) + (len(lead.batch) if lead else 0)


@pytest.mark.parametrize("is_first", [True, False])
def test_an_order_of_a_locked_product_and_a_free_one_keeps_none_of_the_free_one_waiting(is_first):
    locked, free = products(2) if is_first else reversed(products(2))
    with holding_row(locked):
        both = Order(locked, free)
        assert [is_placed_soon(Order(free)) for _ in range(4)] == [True] * 4
        assert not both.outcome
    assert isinstance(both.result(), PlacedOrder)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_product_that_others_lock_again_and_again_does_not_wait_for_a_locked_one(is_first):
    """Its orders are put aside too, where it is locked at that moment, but for that moment."""
    locked, hot = products(2) if is_first else reversed(products(2))
    over = threading.Event()

    def take_again_and_again():
        while not over.is_set():
            with holding_row(hot):
                over.wait(0.02)

    others = [threading.Thread(target=take_again_and_again) for _ in range(2)]
    for other in others:
        other.start()
    try:
        with holding_row(locked):
            orders = [Order(product) for _ in range(6) for product in (locked, hot)]
            assert [is_placed_soon(one) for one in orders[1::2]] == [True] * 6
            assert not any(one.outcome for one in orders[::2])
    finally:
        over.set()
        for other in others:
            other.join()
    assert all(isinstance(one.result(), PlacedOrder) for one in orders)


def test_a_repeat_of_an_order_that_waits_for_its_product_is_the_same_order():
    [locked] = products(1)
    with holding_row(locked):
        order = Order(locked)
        wait_until(lambda: bool(BATCHER._awaited))
        repeat = Submission(BATCHER, order.request)
        wait_until(lambda: waiting_requests() == 2)
    assert repeat.result().reference == order.result().order.id
    locked.refresh_from_db()
    assert locked.reserved == 1


def test_orders_that_wait_for_their_product_end_at_their_deadline(monkeypatch):
    [locked] = products(1)
    monkeypatch.setattr(BATCHER, "_wait_seconds", 1.0)
    with holding_row(locked):
        order = Order(locked)
        assert order.result(within=3.0).code == "overloaded"
    wait_until(lambda: not BATCHER.is_busy())
    locked.refresh_from_db()
    assert locked.reserved == 0


def test_the_deadline_of_an_order_holds_while_others_are_put_aside_after_it(monkeypatch):
    monkeypatch.setattr(BATCHER, "_wait_seconds", 1.0)
    with ExitStack() as holds:
        orders = []
        for locked in products(6):
            holds.enter_context(holding_row(locked))
            orders.append(Order(locked))
            time.sleep(0.4)
        assert {one.result().code for one in orders} == {"overloaded"}
    assert max(one.seconds for one in orders) < SOON
    wait_until(lambda: not BATCHER.is_busy())


def test_a_product_that_is_free_does_not_wait_for_a_thread_behind_many_locked_ones():
    places, _ = LEADER_POOL._max_placed
    free, *locked = products(3 * places + 1)
    with ExitStack() as holds:
        for one in locked:
            holds.enter_context(holding_row(one))
        orders = [Order(one) for one in locked]
        wait_until(lambda: len(BATCHER._awaited) == len(locked))
        with holding_row(free):
            last = Order(free)
            wait_until(lambda: len(BATCHER._awaited) > len(locked))
        assert isinstance(last.result(), PlacedOrder)
        assert last.seconds < ONE_LOCK_WAIT + SOON + servers.lateness_of_lock_waits(1)
    for one in orders:
        one.result()
    wait_until(lambda: not BATCHER.is_busy() and not stuck_rows.any_known())


def test_an_order_that_is_put_aside_in_a_half_of_a_batch_is_decided_before_one_in_the_other_half(monkeypatch):
    wanted, *others, faulty = products(5, on_hand=1)
    decide = BATCHER._decide
    hold = holding_row(wanted)
    batches = []

    def lock_between(requests):
        batches.append([request.lines[0].product_id for request in requests])
        if faulty.pk in batches[-1]:
            raise IntegrityError("made up")
        if len(batches) == 2:
            hold.__enter__()
        if len(batches) == 3:
            hold.__exit__(None, None, None)
            wait_until(lambda: not BATCHER._awaited)
        return decide(requests)

    monkeypatch.setattr(BATCHER, "_decide", lock_between)
    monkeypatch.setattr(BATCHER, "_linger_seconds", 1.0)
    orders = []
    for product in (wanted, *others, faulty, wanted):
        orders.append(Order(product))
        wait_until(lambda: len(BATCHER._queue) == len(orders))
    *placed, failed, late = [one.result() for one in orders]
    assert all(isinstance(one, PlacedOrder) for one in placed)
    assert isinstance(failed, IntegrityError)
    assert late.code == "insufficient_stock"
    first_half = [wanted.pk, *[one.pk for one in others[:2]]]
    assert batches[:3] == [[*first_half, others[2].pk, faulty.pk, wanted.pk], first_half, first_half[1:]]


def test_an_order_whose_commit_got_no_reply_waits_for_its_own_locks(tmp_path):
    order_request = buying.request_of_newcomer(products(1)[0])
    slow = losing_reply_to_commit(tmp_path, before_commit=partial(time.sleep, 1.0))
    with slow as is_lost:
        placed = checkout.place(order_request)
        assert is_lost.is_set()
    assert isinstance(placed, PlacedOrder)
    assert checkout.place(order_request).reference == placed.order.id
