"""Order numbers: taken by the block, found as people type them, given to older orders in steps."""

import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models import F

from accounts.tests.clients import client_of, new_customer, new_superuser
from foundation.tests.second_connection import ask
from orders import rows as order_rows, tasks
from orders.models import NumberState, Order
from orders.tests.buying import order_of

pytestmark = pytest.mark.django_db(transaction=True)


def take(count: int) -> list[str]:
    with transaction.atomic():
        numbers = order_rows.Numbers()
        return [numbers.next() for _ in range(count)]


@pytest.fixture
def new_process(monkeypatch):
    """No number is left of what another test took."""
    monkeypatch.setattr(order_rows, "_left", deque())


@pytest.fixture
def older_orders(buyer, product):
    """Orders without a number, as an earlier release places them."""
    for key in "abc":
        client_of(buyer).post("/orders", order_of(product), key=key)
    Order.objects.update(number=None)
    return list(Order.objects.order_by("id"))


@pytest.mark.usefixtures("new_process")
def test_a_process_locks_the_counter_for_the_first_order_of_a_block_alone(django_assert_num_queries):
    first = take(1)
    with django_assert_num_queries(0):
        more = [order_rows.Numbers().next() for _ in range(order_rows.BLOCK - 1)]
    assert len({*first, *more}) == order_rows.BLOCK
    assert take(1)[0] not in {*first, *more}
    assert NumberState.objects.get().next_value == 2 * order_rows.BLOCK


@pytest.mark.usefixtures("new_process")
def test_a_block_of_a_transaction_that_fails_is_used_by_no_other():
    with pytest.raises(RuntimeError), transaction.atomic():
        order_rows.Numbers().next()
        raise RuntimeError
    assert not NumberState.objects.filter(next_value__gt=0).exists()
    assert not order_rows._left


@pytest.mark.usefixtures("new_process")
def test_threads_and_processes_that_take_numbers_at_once_get_different_ones(monkeypatch):
    monkeypatch.setattr(order_rows, "BLOCK", 7)
    first = take(1)

    def take_some(_):
        return [number for _ in range(10) for number in take(3)]

    with ThreadPoolExecutor(6) as threads:
        taken = [number for some in threads.map(take_some, range(6)) for number in some]
    assert len({*first, *taken}) == 1 + len(taken) == 1 + 6 * 30


def test_an_order_has_a_number_by_which_its_buyer_finds_it_however_it_is_typed(buyer, product):
    api = client_of(buyer)
    placed, other = (api.post("/orders", order_of(product), key=key).json() for key in "ab")
    number = placed["number"]
    assert re.fullmatch(r"[2346789CDFGHJKMPQRTVWXY]{8}", number)
    assert number != other["number"]
    for typed in (number, number.lower(), f"{number[:4]}-{number[4:]}", f" {number[:4]} {number[4:]} "):
        assert [one["id"] for one in api.rows(f"/orders?number={typed}")] == [placed["id"]]
    for wrong in ("x", number[:7], f"{number}2", "0" * 8, "%25"):
        assert api.rows(f"/orders?number={wrong}") == []
    assert new_customer().rows(f"/orders?number={number}") == []
    staff = new_superuser()
    assert staff.rows(f"/orders?number={number}")[0]["id"] == placed["id"]


def test_orders_of_an_earlier_release_get_their_numbers_in_short_transactions(
    older_orders, buyer, monkeypatch, django_assert_num_queries
):
    api = client_of(buyer)
    assert [one["number"] for one in api.rows("/orders")] == [None] * 3
    monkeypatch.setattr(order_rows, "NUMBERED_AT_ONCE", 2)
    assert tasks.number() == 3
    numbers = {order.pk: order.number for order in Order.objects.all()}
    assert len(set(numbers.values()) - {None}) == 3
    assert tasks.number() == 0
    assert {order.pk: order.number for order in Order.objects.all()} == numbers


def test_an_order_that_is_locked_is_numbered_by_the_next_turn(older_orders):
    locked = older_orders[0].pk
    with ThreadPoolExecutor(1) as other, transaction.atomic():
        Order.objects.select_for_update().get(pk=locked)
        assert other.submit(tasks.number).result(timeout=10) == 2
    assert tasks.number() == 1


def test_each_step_reads_no_order_that_has_its_number(older_orders, monkeypatch):
    [columns, *_] = Order.objects.values()
    numbered = [columns | {"id": UUID(int=n), "number": str(n)} for n in range(1, 201)]
    others = [columns | {"id": UUID(int=n)} for n in range(201, 401)]
    Order.objects.bulk_create(Order(**one) for one in [*numbered, *others])
    monkeypatch.setattr(order_rows, "NUMBERED_AT_ONCE", 10)
    ask(connection, "ANALYZE TABLE orders_order")
    ask(connection, "FLUSH STATUS")
    assert tasks.number() == 203
    [[_, reads]] = ask(connection, "SHOW SESSION STATUS LIKE 'Handler_read_next'")
    assert int(reads) < 1_000


@pytest.mark.usefixtures("new_process")
def test_after_a_restore_no_number_of_the_lost_time_is_given_again():
    take(1)
    before = NumberState.objects.get().next_value
    NumberState.objects.update(next_value=F("next_value") - order_rows.BLOCK)
    order_rows.leave_gap()
    assert NumberState.objects.get().next_value > before
