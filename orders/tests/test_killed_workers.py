"""A worker is killed with -9 in the middle of an order: the next one finishes it."""

import subprocess

import pytest

from inventory.tests.factories import ProductFactory
from orders import tasks
from orders.models import Order, Saga
from orders.tests import buying
from scripts.stack import children
from shop.operations import dispatch
from shop.tests.racing import wait_until


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("token", "ends"), [("tok_slow", "paid"), ("tok_declined", "payment_failed")])
def test_an_order_whose_worker_is_killed_is_recovered(
    token: str, ends: str, mortal_worker: "subprocess.Popen[bytes]"
) -> None:
    product = ProductFactory.create(on_hand=1)
    placed = buying.place(buying.account().id, {product: 1}, token=token)
    assert placed.started
    dispatch.enqueue(tasks.advance, str(placed.started.saga.id))
    wait_until(lambda: Saga.objects.exclude(lease_token="", ended_at=None).exists())
    mortal_worker.kill()
    mortal_worker.wait()
    buying.settle_everything()
    assert Order.objects.get().status == ends
    assert buying.broken_laws() == []


@pytest.mark.django_db(transaction=True)
def test_a_refund_whose_worker_is_killed_is_recovered(
    mortal_worker: "subprocess.Popen[bytes]",
) -> None:
    product = ProductFactory.create(on_hand=1)
    order = buying.advance(buying.place(buying.account().id, {product: 1}, token="tok_refund_fails"))
    started = buying.refund(order.id)
    dispatch.enqueue(tasks.advance, str(started.saga_id))
    wait_until(lambda: Saga.objects.filter(id=started.saga_id).exclude(lease_token="", attempts=0).exists())
    mortal_worker.kill()
    mortal_worker.wait()
    buying.settle_everything()
    assert buying.state_of(order.id) == Order.Status.REFUNDED
    product.refresh_from_db()
    assert product.on_hand == 1
    assert buying.broken_laws() == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_stopped_finishes_the_sagas_in_progress(
    mortal_worker: "subprocess.Popen[bytes]",
) -> None:
    product = ProductFactory.create(on_hand=1)
    placed = buying.place(buying.account().id, {product: 1}, token="tok_slow")
    assert placed.started
    dispatch.enqueue(tasks.advance, str(placed.started.saga.id))
    wait_until(lambda: Saga.objects.exclude(lease_token="").exists())
    children.stop(mortal_worker)
    assert Order.objects.get().status == Order.Status.PAID
    assert Saga.objects.get().ended_at
