"""Restarts that clients hardly notice: a rolling one, one with waiting clients, and a client that left."""

import signal
import time
from collections import Counter

import pytest
import urllib3

from accounts.tokens import tokens
from inventory.tests.factories import ProductFactory
from orders.models import Order
from scripts.tests.running_shop.calls import (
    buyers_going_on,
    charges_of,
    connections,
    eventually,
    orders_of,
    purchase,
    require_every_law,
    wait_until_settled,
    waiting_requests,
)
from shop.models import IdempotencyKey
from shop.tests.factories import AccountFactory
from shop.tests.racing import wait_until
from shop.tests.second_connection import holding

LOCK = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"


def test_a_rolling_restart_under_load_fails_no_buyer(running_shop):
    product, before = ProductFactory.create(on_hand=10_000), running_shop.web_processes()
    with buyers_going_on(running_shop, product, count=3) as answers:
        eventually(lambda: len(answers) >= 6)
        running_shop.children["web"].send_signal(signal.SIGHUP)

        def is_replaced() -> bool:
            return len(now := running_shop.web_processes()) == 2 and not now & before

        wait_until(is_replaced, seconds=60)
        counted = len(answers)
        eventually(lambda: len(answers) >= counted + 6)
    assert set(answers) <= {201, 202}, Counter(answers)
    wait_until_settled(product)
    assert orders_of(product, status="paid").count() == len(answers)
    assert set(charges_of(product).values()) == {1}
    require_every_law()


def test_a_server_that_stops_answers_all_waiting_requests_at_once(running_shop):
    product, buyers = ProductFactory.create(on_hand=100), AccountFactory.create_batch(50)
    with connections(running_shop, 50) as calls, running_shop.frozen("worker"):
        waiting = [
            calls.soon(buyer, "POST", "/orders", purchase(product), key="a", Prefer="wait=30")
            for buyer in buyers
        ]
        wait_until(lambda: waiting_requests(running_shop) == 50, seconds=25)
        stopped_at = time.monotonic()
        running_shop.children["web"].terminate()
        answers = [call.result(30) for call in waiting]
        assert time.monotonic() - stopped_at < 4, (
            "less than the server waits before it ends what is under way"
        )
        assert {(answer.status, answer.json()["status"]) for answer in answers} == {(202, "paying")}
        assert running_shop.children["web"].wait(10) == 0
    running_shop.start("web")
    running_shop.wait_until_ready()
    wait_until_settled(product)
    assert set(orders_of(product).values_list("status", flat=True)) == {"paid"}
    require_every_law()


def test_the_order_of_a_disconnected_client_is_placed_and_a_repeat_replays_it(running_shop):
    product, buyer = ProductFactory.create(on_hand=1_000, price=1_000), AccountFactory.create()
    body = {"items": [{"product": product.id, "quantity": 1}]}
    orders = Order.objects.filter(account=buyer)
    impatient = urllib3.PoolManager(retries=False, timeout=1)
    headers = {"Idempotency-Key": "a", "Authorization": f"Bearer {tokens.create_access_token(buyer)}"}
    with holding(LOCK, product.id):
        with pytest.raises(urllib3.exceptions.TimeoutError):
            impatient.request("POST", f"{running_shop.address}/api/v1/orders", json=body, headers=headers)
        impatient.clear()
        assert not orders.exists()
    wait_until(orders.exists)
    assert IdempotencyKey.objects.filter(account=buyer, status=201).count() == 1
    again = running_shop.call(buyer, "POST", "/orders", body, key="a")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["id"] == str(orders.get().id)
