"""A process or a store is killed, stopped or restarted: the next one goes on, and each order is paid once."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from uuid import uuid4

import pytest
import urllib3
from django.contrib.auth.models import User
from django.db import connection

from accounts.tokens import token_pairs
from coupons.campaigns import STRATEGIES_FOR_EVERYBODY
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory, accounts
from foundation import clock
from foundation.idempotency import claims
from foundation.redis import redis_client
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import holding
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.tests import buying
from orders.tests.buying import order_of
from orders.tests.waiting import somebody_waits_at_the_stock
from scripts.stack import children, ports
from scripts.tests.running_shop import calls
from scripts.tests.running_shop.stack import HTTP, SETTINGS, RunningShop

LOCK = "SELECT id FROM inventory_product WHERE id = %s FOR UPDATE"
LOCK_CAMPAIGN = "SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE"


@pytest.mark.parametrize(("token", "ends"), [("tok_slow", "paid"), ("tok_declined", "payment_failed")])
def test_an_order_whose_worker_is_killed_is_recovered(token, ends, running_shop):
    product = ProductFactory(on_hand=1)
    with running_shop.frozen("gateway"):
        placed = calls.buy(running_shop, AccountFactory(), product, token, wait=0)
        assert placed.status == 202, placed.data
        wait_until(lambda: Saga.objects.filter(about_id=placed.json()["id"]).exclude(lease_token="").exists())
        with running_shop.away("worker"):
            pass
    calls.let_leases_end(product)
    calls.wait_until_settled(product)
    assert calls.orders_of(product).get().status == ends
    assert list(calls.charges_of(product).values()) == [int(ends == "paid")]
    calls.require_every_law()


def test_a_refund_whose_worker_is_killed_is_recovered(running_shop):
    product = ProductFactory(on_hand=1)
    order_id = calls.buy(running_shop, AccountFactory(), product, "tok_refund_fails").json()["id"]
    staff = AccountFactory(is_staff=True, permissions=["orders.add_refund", "orders.view_refund"])
    body = {"reason": "It came broken.", "restock": True}
    started = running_shop.call(staff, "POST", f"/orders/{order_id}/refunds", body, key=str(uuid4()))
    assert started.status == 202, started.data
    refunds = Saga.objects.filter(about_id=order_id, ended_at=None)
    wait_until(lambda: refunds.exclude(lease_token="", attempts=0).exists())
    with running_shop.away("worker"):
        pass
    calls.let_leases_end(product)
    calls.eventually(lambda: buying.state_of(order_id) == Order.Status.REFUNDED)
    product.refresh_from_db()
    assert product.on_hand == 1
    calls.require_every_law()


def test_a_worker_that_is_stopped_finishes_the_sagas_in_progress(running_shop):
    product = ProductFactory(on_hand=1)
    placed = calls.buy(running_shop, AccountFactory(), product, "tok_webhook", wait=0)
    assert placed.status == 202, placed.data
    paid = calls.buy(running_shop, AccountFactory(), ProductFactory(on_hand=1), "tok_slow", wait=0)
    saga = Saga.objects.filter(about_id=paid.json()["id"])
    wait_until(lambda: saga.exclude(lease_token="").exists())
    children.stop(running_shop.children["worker"])
    assert running_shop.children["worker"].returncode == 0
    assert saga.get().lease_token == ""
    running_shop.start("worker")
    calls.eventually(lambda: not saga.filter(ended_at=None).exists())
    assert buying.state_of(paid.json()["id"]) == "paid"
    calls.wait_until_settled(product)
    calls.require_every_law()


def test_a_web_process_is_killed_while_buyers_wait_and_each_order_is_paid_once(running_shop):
    """Clients of the killed process lose their connection, repeat with their key, and get the same order."""
    product, buyers = ProductFactory(on_hand=100), AccountFactory.create_batch(16)

    def call_all(some):
        return [
            callers.soon(one, "POST", "/orders", calls.purchase(product), key="a", Prefer="wait=20")
            for one in some
        ]

    with calls.Connections(running_shop, 16) as callers:
        with running_shop.frozen("worker"):
            waiting = calls.begun_at_both(running_shop, call_all, buyers, product)
            killed = min(running_shop.web_processes())
            os.kill(killed, signal.SIGKILL)
        lost = [call for call in waiting if isinstance(call.exception(30), urllib3.exceptions.HTTPError)]
        assert 0 < len(lost) < 16
        answers = [call.result() for call in waiting if call not in lost]
        assert {(answer.status, answer.json()["status"]) for answer in answers} == {(201, "paid")}
        again = [call.result(30) for call in call_all(buyers)]
    assert {(answer.status, answer.headers["Idempotency-Replayed"]) for answer in again} == {(201, "true")}
    assert len({answer.json()["id"] for answer in again}) == 16
    assert calls.count_paid_once(product) == 16
    running_shop.wait_until_ready()
    assert killed not in running_shop.web_processes()


@pytest.mark.parametrize("strategy", STRATEGIES_FOR_EVERYBODY)
def test_a_web_process_is_killed_while_500_accounts_ask_twice_for_a_coupon_for_everybody(
    strategy, running_shop
):
    """Whoever lost the connection, or its turn at a lock, asks again, and each has one coupon."""
    campaign = CampaignFactory(quantity=None, strategy=strategy)
    everyone, coupons = accounts(500), Coupon.objects.filter(campaign=campaign)
    buyers = [one for one in User.objects.filter(pk__in=everyone) for _ in range(2)]
    body = {"campaign": campaign.pk}

    def ask_all(callers, some):
        return [callers.soon(one, "POST", "/coupons", body) for one in some]

    def is_answered(call):
        return call.exception(60) is None and call.result().status in (200, 201)

    with calls.Connections(running_shop, 200) as callers:
        asked = ask_all(callers, buyers[:400])
        assert all(is_answered(call) for call in asked)
        last = HTTPConnection(ports.HOST, running_shop.instance.port, timeout=20)
        # Meanwhile nobody gets a coupon: the last call is under way at a process, however late threads run.
        with closing(last), holding(LOCK_CAMPAIGN, campaign.pk):
            asked += ask_all(callers, buyers[400:999])
            headers = {"Authorization": f"Bearer {token_pairs.create_access_token(buyers[999])}"}
            headers["Content-Type"] = "application/json"
            last.request("POST", "/api/v1/coupons", json.dumps(body), headers)
            wait_until(lambda: running_shop.process_serving(last))
            os.kill(running_shop.process_serving(last), signal.SIGKILL)
            with pytest.raises(ConnectionError):
                last.getresponse()
        left = [one for one, call in zip(buyers[:999], asked, strict=True) if not is_answered(call)]
        left.append(buyers[999])
        assert 0 < len(left) < 1000
        for _ in range(5):
            again = ask_all(callers, left)
            left = [one for one, call in zip(left, again, strict=True) if not is_answered(call)]
    assert left == []
    assert sorted(coupons.values_list("position", flat=True)) == list(range(1, 501))
    assert set(coupons.values_list("account_id", flat=True)) == {*everyone}
    running_shop.wait_until_ready()
    calls.require_every_law()


def test_the_key_of_a_killed_process_is_taken_over_once_its_lease_is_over(running_shop):
    product, buyer, key = ProductFactory(on_hand=2), AccountFactory(), str(uuid4())
    body, redis = calls.purchase(product), redis_client.client()
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    headers["Authorization"] = f"Bearer {token_pairs.create_access_token(buyer)}"

    def repeat():
        answer = running_shop.call(buyer, "POST", "/orders", body, key=key)
        return answer.status, answer.json().get("code", "")

    first = HTTPConnection(ports.HOST, running_shop.instance.port, timeout=20)
    with closing(first), holding(LOCK, product.id):
        first.request("POST", "/api/v1/orders", json.dumps(body), headers)
        wait_until(somebody_waits_at_the_stock)
        [claim] = redis.keys(f"{claims.KEY_PREFIX}{buyer.pk}:*")
        left = redis.pttl(claim)
        # A slow machine may need longer than the lease to come to the repeat.
        assert 0 < left <= int(SETTINGS["IDEMPOTENCY_LEASE_SECONDS"]) * 1000
        assert redis.pexpire(claim, 60_000)
        os.kill(running_shop.process_serving(first), signal.SIGKILL)
        with pytest.raises(ConnectionError):
            first.getresponse()
        wait_until(lambda: running_shop.down() == [])
        assert repeat() == (409, "idempotency_key_in_flight")

    assert redis.pexpire(claim, left)
    calls.eventually(lambda: repeat()[0] in (201, 202))
    assert calls.count_paid_once(product) == 1


def test_without_beat_orders_are_paid_and_a_new_beat_takes_over(running_shop):
    product = ProductFactory(on_hand=10)
    with running_shop.away("beat"):
        assert calls.buy(running_shop, AccountFactory(), product).status == 201
    unpaid = order_of(product)
    placed = running_shop.call(AccountFactory(), "POST", "/orders", unpaid, key=str(uuid4()))
    Order.objects.filter(id=placed.json()["id"]).update(expires_at=clock.now())
    calls.eventually(lambda: buying.state_of(placed.json()["id"]) == "expired")
    product.refresh_from_db()
    assert (product.on_hand, product.reserved) == (9, 0)
    calls.require_every_law()


def test_a_rolling_restart_under_load_fails_no_buyer(running_shop):
    product, before = ProductFactory(on_hand=10_000), running_shop.web_processes()
    with calls.buyers_going_on(running_shop, product, count=3) as answers:
        calls.eventually(lambda: len(answers) >= 6)
        running_shop.children["web"].send_signal(signal.SIGHUP)

        def is_replaced():
            return len(now := running_shop.web_processes()) == 2 and not now & before

        wait_until(is_replaced, seconds=60)
        counted = len(answers)
        calls.eventually(lambda: len(answers) >= counted + 6)
    assert set(answers) <= {201, 202}, Counter(answers)
    assert calls.count_paid_once(product) == len(answers)


AS_USUAL = {201, 202}


@contextmanager
def orders_going_on_without(shop: RunningShop, store: str) -> Iterator[list[int]]:
    """Orders are taken as usual before, while and after the store is away, which is when the block runs."""
    product = ProductFactory(on_hand=10_000)
    with calls.buyers_going_on(shop, product, count=4) as answers:
        calls.eventually(lambda: len(answers) >= 8)
        with shop.away(store):
            wait_until(lambda: shop.down() == [store])
            before = len(answers)
            calls.eventually(lambda: len(answers) >= before + 8)
        yield answers
    assert set(answers) <= AS_USUAL, Counter(answers)
    assert calls.count_paid_once(product) == len(answers)


def test_orders_go_on_while_redis_is_away_and_it_is_used_again_once_it_is_back(running_shop):
    with orders_going_on_without(running_shop, "redis") as answers:
        before = len(answers)
        calls.eventually(lambda: len(answers) >= before + 8)


def test_without_a_database_calls_are_refused_and_nothing_that_was_answered_is_lost(running_shop):
    product, buyer, key = ProductFactory(on_hand=10_000), AccountFactory(), str(uuid4())
    with calls.buyers_going_on(running_shop, product, count=4) as answers:
        calls.eventually(lambda: answers.count(201) >= 4)
        running_shop.kill("mariadb")
        try:
            wait_until(lambda: running_shop.down() == ["database"], seconds=20)
            assert HTTP.request("GET", f"{running_shop.address}/healthz").json() == {"status": "alive"}
            refused = running_shop.call(buyer, "POST", "/orders", calls.purchase(product), key=key)
            assert (refused.status, refused.json()["code"]) == (503, "unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
        finally:
            running_shop.start("mariadb")
            connection.close()
        running_shop.wait_until_ready()
        paid = answers.count(201)
        calls.eventually(lambda: answers.count(201) >= paid + 4)
    assert set(answers) <= {*AS_USUAL, 503}, Counter(answers)
    assert running_shop.call(buyer, "POST", "/orders", calls.purchase(product), key=key).status in AS_USUAL
    calls.let_leases_end(product)
    # An order whose answer was lost with the server may be there as well, and is paid like the others.
    told = len(answers) - answers.count(503) + 1
    assert calls.count_paid_once(product) >= told


def test_orders_go_on_while_the_broker_is_away_and_the_worker_returns_to_it(running_shop):
    with orders_going_on_without(running_shop, "broker"):
        before = tasks_done(running_shop)
        calls.eventually(lambda: tasks_done(running_shop) > before)


def tasks_done(shop: RunningShop) -> int:
    return shop.log("worker").read_text().count("Task orders.advance[")


def test_a_payment_whose_message_the_broker_lost_is_found_by_the_sweeper(running_shop):
    product = ProductFactory(on_hand=1)
    with running_shop.frozen("worker"), running_shop.frozen("beat"):
        placed = calls.buy(running_shop, AccountFactory(), product, wait=0)
        assert (placed.status, placed.json()["status"]) == (202, "paying")
        running_shop.kill("broker")
        running_shop.start("broker")
    calls.let_leases_end(product)
    assert calls.count_paid_once(product) == 1
    running_shop.wait_until_ready()
