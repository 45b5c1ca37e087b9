"""A saga that fails within a batch, or finds no free slot, is postponed, counted, and delays no other."""

import dataclasses
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from inventory.tests.factories import ProductFactory, levels_of
from orders import audit
from orders.models import Order, Saga
from orders.payment import purchase
from orders.saga import batch, run, status, store
from orders.saga.definitions import SAGA_TYPES
from orders.tests import buying, stepping
from orders.tests.test_executor import Blocked, bought, ended, saga_ids, threaded
from payments.tests.own_gateway import nobody_there
from shop import clock
from shop.db import transactions
from shop.models import JournalLine
from shop.tests.racing import wait_until

__all__ = ["threaded"]
pytestmark = pytest.mark.django_db(transaction=True)
MOST_TASKS = 100


def explode(*_: Any, **__: Any) -> None:
    raise RuntimeError("a row of the stock is bad" + "!" * 300)


def advanced(*ids: UUID) -> int:
    """How many tasks a new executor runs until these sagas need no more; at most `MOST_TASKS`."""
    Saga.objects.filter(id__in=ids).update(next_attempt_at=clock.now())
    own = stepping.SteppedExecutor()
    own.wake()
    count = 0
    while count < MOST_TASKS and own.pools.step():
        count += 1
    return count


def replaced(monkeypatch: pytest.MonkeyPatch, step: str, **changes: Any) -> None:
    """Changes a step of the purchase."""
    purchase_type = SAGA_TYPES["purchase"]
    steps = tuple(
        dataclasses.replace(one, **changes) if one.name == step else one for one in purchase_type.steps
    )
    monkeypatch.setitem(SAGA_TYPES, "purchase", dataclasses.replace(purchase_type, steps=steps))


def batches_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Records the sizes of all batches from now on."""
    sizes: list[int] = []
    advance: Callable[..., Any] = batch.advance
    monkeypatch.setattr(
        batch, "advance", lambda runs, **more: sizes.append(len(runs)) or advance(runs, **more)
    )
    return sizes


def for_a_while(seconds: float) -> None:
    """Let time pass in which something must not repeat."""
    threading.Event().wait(seconds)


def test_a_compensation_that_raises_counts_as_an_attempt_and_is_postponed(monkeypatch):
    """It was retried for ever without a pause, and its lease blocked every operator."""
    placed = bought("tok_declined")
    with monkeypatch.context() as patched:
        patched.setattr(purchase.reservations, "release", explode)
        assert advanced(*saga_ids(placed)) < MOST_TASKS
        saga = Saga.objects.get()
        assert (saga.attempts, saga.lease_token, saga.state) == (1, "", "running")
        assert "stock is bad" in saga.last_error
        assert len(saga.last_error) == 255, "as long as its column"
        Saga.objects.update(deadline_at=clock.now())
        assert advanced(saga.id) < MOST_TASKS
        assert Saga.objects.get().state == "stuck"
    buying.settle_everything()
    assert ended(placed) == ["payment_failed"]
    assert buying.broken_laws() == []


def test_an_overdue_order_whose_compensation_raises_is_postponed(monkeypatch):
    buyer, product = buying.account(points=100), ProductFactory.create(on_hand=9, price=100)
    placed = buying.place(buyer.id, {product: 1}, points=100, token="")
    Saga.objects.update(deadline_at=clock.now() - timedelta(seconds=1))
    monkeypatch.setattr(purchase.reservations, "release", explode)
    assert advanced(*saga_ids([placed])) < MOST_TASKS
    assert Saga.objects.get().attempts == 1


def test_a_result_whose_recording_raises_counts_each_time(monkeypatch):
    placed = bought("tok_declined")
    replaced(monkeypatch, "charge_card", on_result=explode)
    for _ in range(3):
        assert advanced(*saga_ids(placed)) < MOST_TASKS
        Saga.objects.update(leased_until=clock.now())
    assert Saga.objects.get().attempts >= 2


def test_a_saga_whose_payment_is_missing_is_postponed(monkeypatch):
    # It can't be told from one that is locked until it is waited for.
    monkeypatch.setattr(run, "LOCKED_SECONDS", 0.0)
    row, lines = store.new_saga(kind="top_up", subject_id=uuid4(), give_up_seconds=900)
    transactions.run(lambda: store.insert_sagas([(row, lines)]), transactions.KEYED)
    assert advanced(row.id) < MOST_TASKS
    assert Saga.objects.get().attempts == 1


def test_a_saga_without_a_slot_is_postponed_once_and_not_polled_again(threaded, monkeypatch):
    blocked = Blocked(monkeypatch, "charge_card")
    monkeypatch.setattr(run, "MAX_RECOVERING", 1)
    bought(*["tok_ok"] * 4)
    Saga.objects.update(open_call="charge_card do")
    threaded.polls = True
    threaded.wake()
    wait_until(lambda: len(blocked.started) == 1)
    sizes = batches_counted(monkeypatch)
    for_a_while(2)
    assert len(sizes) < 5
    blocked.is_over.set()


def test_an_overdue_saga_without_a_slot_is_stuck_and_visible(settings, monkeypatch):
    """A charge whose outcome was unknown was put off for ever: not stuck, L10 broken, the gauge at 0."""
    settings.PAYMENT_GIVE_UP_SECONDS = 0
    product = ProductFactory.create(on_hand=5, price=500)
    placed = buying.place(buying.account().id, {product: 1}, token="tok_ok")
    with nobody_there(settings):
        stepping.advance(placed.started.saga.id)
    long_ago = clock.now() - timedelta(seconds=audit.GRACE_SECONDS + 5)
    monkeypatch.setattr(run, "MAX_RECOVERING", 0)
    Saga.objects.update(deadline_at=long_ago, next_attempt_at=long_ago, leased_until=None)

    assert stepping.advance(placed.started.saga.id) == Saga.State.STUCK

    assert status.count_stuck()["purchase"] == 1
    assert buying.broken_laws() == []
    monkeypatch.undo()
    buying.settle_everything()
    assert buying.state_of(placed.order.id) == Order.Status.PAYMENT_FAILED
    assert levels_of(product)[1] == 0


def test_a_full_executor_does_not_spin(threaded, monkeypatch):
    """It ran 30,000 empty batches a second while all slow calls waited for the gateway."""
    monkeypatch.setattr(run, "MAX_LEASED", 1)
    blocked = Blocked(monkeypatch, "charge_card")
    placed = bought(*["tok_ok"] * 3)
    threaded.polls = True
    threaded.wake()
    wait_until(lambda: len(blocked.started) == 1)
    for_a_while(run.IDLE_SECONDS + 0.5)
    taken, find = [0], threaded._find

    def counted() -> Any:
        taken[0] += 1
        return find()

    monkeypatch.setattr(threaded, "_find", counted)
    for_a_while(1)
    most = taken[0]
    blocked.is_over.set()
    assert set(ended(placed)) == {"paid"}
    assert most <= 75


def test_an_executor_that_finishes_accepts_no_more_sagas(threaded, monkeypatch):
    blocked = Blocked(monkeypatch, "charge_card")
    bought("tok_ok")
    threaded.polls = True
    threaded.wake()
    wait_until(lambda: len(blocked.started) == 1)
    stopping = threading.Thread(target=threaded.finish, kwargs={"seconds": 5})
    stopping.start()
    bought("tok_ok", "tok_ok")
    for_a_while(0.5)
    started = len(blocked.started)
    blocked.is_over.set()
    stopping.join()
    assert started == 1


def test_each_wallet_line_of_a_batch_names_the_request_that_started_its_top_up():
    started = []
    for number in range(2):
        buyer = buying.account()
        top_up = buying.start_top_up(buyer.id)
        Saga.objects.filter(id=top_up.saga.id).update(request_id=f"request-{number}")
        started.append((buyer.id, top_up.saga.id))
    advanced(*(saga_id for _, saga_id in started))
    for number, (user_id, _) in enumerate(started):
        line = JournalLine.objects.get(what="points.top_up", subject=f"wallet {user_id}")
        assert line.request_id == f"request-{number}"
