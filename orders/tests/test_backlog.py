"""Requests are held while the workers are behind: no saga waits long for a live worker."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import pytest

from accounts.tests.clients import new_customer, problem_of
from foundation import clock
from foundation.concurrency import event_loop
from foundation.db import transactions
from foundation.errors import Overloaded
from foundation.tests.factories import set_columns
from foundation.tests.instants import from_now
from foundation.tests.racing import wait_until
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.saga import backlog, batch, rows as saga_rows
from orders.saga.backlog import BackPressure
from orders.saga.definitions import LEASE_SECONDS, Event, StepResult
from orders.tests import buying, stepping
from orders.tests.buying import order_of


def waiting(*, seconds: float, **more) -> Saga:
    """A new saga that has waited for a worker for `seconds`."""
    row, lines = saga_rows.new_saga(kind="top_up", subject_id=uuid4())
    ago = timedelta(seconds=seconds)
    row.created_at -= ago
    for name, value in more.items():
        setattr(row, name, value)
    transactions.run(lambda: saga_rows.insert_sagas([(row, lines)]), transactions.KEYED)
    return row


def a_live_worker():
    """A worker with a lease that it renews."""
    until = from_now(seconds=LEASE_SECONDS)
    waiting(seconds=0, lease_token="live", leased_until=until, next_attempt_at=until)


def back_pressure_of(monkeypatch, *, most_held: int, read: Callable[[], float]) -> BackPressure:
    """One of its own, which holds so many requests, and measures so."""
    monkeypatch.setattr(backlog, "MOST_HELD", most_held)
    monkeypatch.setattr(backlog, "oldest_waiting_seconds", read)
    return BackPressure()


pytestmark = pytest.mark.django_db(transaction=True)


def test_the_backlog_is_the_age_of_the_oldest_saga_that_waits_for_a_live_worker_and_for_no_retry():
    a_live_worker()
    now = clock.now()
    waiting(seconds=9, attempts=1, next_attempt_at=now, work_class="again")
    waiting(seconds=9, lease_token="dead", leased_until=now, next_attempt_at=now, work_class="recovery")
    waiting(seconds=9, work_class="refund")
    waiting(seconds=LEASE_SECONDS + 3)
    assert backlog.oldest_waiting_seconds() == 0
    for seconds in (3, 2, 1):
        waiting(seconds=seconds)
    assert 3 <= backlog.oldest_waiting_seconds() < 4


def test_without_a_live_worker_no_request_is_held():
    waiting(seconds=3)
    half = from_now(seconds=LEASE_SECONDS / 5)
    waiting(seconds=5, lease_token="dead", leased_until=half, next_attempt_at=half)
    assert backlog.oldest_waiting_seconds() == 0


def test_a_request_waits_until_the_workers_have_caught_up(monkeypatch):
    seconds = [9.0]
    back_pressure = back_pressure_of(monkeypatch, most_held=2, read=lambda: seconds[0])
    request = threading.Thread(target=lambda: event_loop.run_blocking(back_pressure.wait_for_capacity()))
    request.start()
    request.join(0.3)
    assert request.is_alive()
    seconds[0] = 0.0
    request.join(5)
    assert not request.is_alive()


def test_requests_beyond_the_bound_or_held_too_long_are_refused(monkeypatch):
    monkeypatch.setattr(backlog, "MAX_HELD_SECONDS", 2.0)
    back_pressure = back_pressure_of(monkeypatch, most_held=1, read=lambda: 9.0)
    refused = []

    def ask():
        try:
            event_loop.run_blocking(back_pressure.wait_for_capacity())
        except Overloaded as error:
            refused.append(error)

    first = threading.Thread(target=ask)
    first.start()
    wait_until(lambda: back_pressure._held == 1)
    ask()
    assert len(refused) == 1
    first.join(5)
    assert len(refused) == 2


def test_an_order_that_is_paid_at_once_is_held_and_one_that_is_not_goes_through(monkeypatch):
    monkeypatch.setattr(
        backlog, "back_pressure", back_pressure_of(monkeypatch, most_held=0, read=lambda: 9.0)
    )
    api, product = new_customer(), ProductFactory(on_hand=5)
    body = order_of(product)
    assert api.post("/orders", body, key="a").status_code == 201
    for path, asked in (
        ("/orders", body | {"payment": {"token": "tok_ok"}}),
        ("/payments", {"order": str(Order.objects.get().id), "token": "tok_ok"}),
        ("/wallet/top-ups", {"amount": 5, "token": "tok_ok"}),
    ):
        answer = api.post(path, asked, key="b")
        assert problem_of(answer) == (503, "overloaded")
        assert answer["Retry-After"]
    assert not Saga.objects.exists()


def test_a_repeat_of_a_call_is_answered_while_the_workers_are_behind(monkeypatch):
    """It starts no payment; 503 would say that nothing was done."""
    api, product = new_customer(), ProductFactory(on_hand=5)
    body = buying.order_of(product, "tok_ok")
    order = api.post("/orders", body, key="a").json()
    buying.settle_everything()
    monkeypatch.setattr(
        backlog, "back_pressure", back_pressure_of(monkeypatch, most_held=1, read=lambda: 9.0)
    )
    again = api.post("/orders", body, key="a")
    assert (again.status_code, again["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["id"] == order["id"]
    reused = api.post("/orders", body | {"points_amount": 1}, key="a")
    assert problem_of(reused) == (422, "idempotency_key_reused")


def test_a_postponed_saga_is_not_new(monkeypatch):
    """It was polled again and again, and hid the new sagas that waited."""
    a_live_worker()
    product = ProductFactory(on_hand=5)
    buying.place_for_newcomer(product, token="tok_ok")
    [found] = stepping.due(limit=10)
    batch.put_off([found], StepResult(Event.FAILED, "its order is locked"), token="one", seconds=5)
    saga = Saga.objects.get(id=found.id)
    assert (saga.lease_token, saga.attempts) == ("", 1)
    assert stepping.due(limit=10) == []
    assert backlog.oldest_waiting_seconds() == 0
    set_columns(saga, next_attempt_at=clock.now())
    assert [saga.id for saga in stepping.due(limit=10)] == [found.id]
    assert backlog.oldest_waiting_seconds() == 0


def test_a_thousand_requests_of_a_loop_are_held_without_a_thread_and_share_the_measurements(monkeypatch):
    measured = []

    def measure():
        measured.append(time.monotonic())
        return 9.0 if len(measured) < 4 else 0.0

    back_pressure = back_pressure_of(monkeypatch, most_held=1_000, read=measure)

    async def all_wait():
        # Until the first measurement is known no request is held.
        assert await back_pressure.is_behind()
        waits = [asyncio.create_task(back_pressure.wait_for_capacity()) for _ in range(1_000)]
        while back_pressure._held < 1_000:
            await asyncio.sleep(0.01)
        busy = event_loop.CALL_POOL.busy() + event_loop.CALL_POOL.waiting()
        with pytest.raises(Overloaded):
            await back_pressure.wait_for_capacity()
        await asyncio.gather(*waits)
        return busy, back_pressure._held

    busy, held = asyncio.run(all_wait())
    assert (busy <= 1, held) == (True, 0)
    assert len(measured) == 4
    assert all(after - before > backlog.READ_INTERVAL_SECONDS for before, after in pairwise(measured))


def test_a_measurement_that_takes_long_holds_up_no_other_request(monkeypatch):
    measuring, may_end = threading.Event(), threading.Event()

    def measure():
        measuring.set()
        may_end.wait(10)
        return 9.0

    back_pressure = back_pressure_of(monkeypatch, most_held=0, read=measure)

    async def others_pass():
        first = asyncio.create_task(back_pressure.wait_for_capacity())
        await asyncio.to_thread(measuring.wait, 10)
        await asyncio.wait_for(asyncio.gather(*[back_pressure.wait_for_capacity() for _ in range(100)]), 5)
        may_end.set()
        with pytest.raises(Overloaded):
            await first

    asyncio.run(others_pass())
