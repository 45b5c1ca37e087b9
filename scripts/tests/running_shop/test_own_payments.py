"""Web processes advance the payments that they begin: each buyer is told, and each order is paid once."""

import os
import signal
import time
from concurrent.futures import Future

import pytest
import urllib3

from foundation.tests.factories import AccountFactory
from foundation.tests.racing import wait_until
from inventory.tests.factories import ProductFactory
from orders.models import Saga
from orders.saga.definitions import LEASE_SECONDS, OF_WEB
from scripts.tests.running_shop import calls

BUYERS = 40
SETTLED_SECONDS = 15.0


@pytest.fixture(scope="module", autouse=True)
def _own_payments(booted_shop):
    """The web server advances what it begins, until the end of the module."""
    _restart_web(booted_shop, payments="48")
    yield
    _restart_web(booted_shop, payments="0")


def _restart_web(shop, *, payments):
    shop.environment["WEB_PAYMENTS"] = payments
    with shop.away("web"):
        pass


def buy_all(callers: calls.Connections, buyers: list, product) -> "list[Future[calls.Response]]":
    body = calls.purchase(product)
    return [callers.soon(one, "POST", "/orders", body, key="a", Prefer="wait=25") for one in buyers]


def leased_by_web() -> int:
    return Saga.objects.filter(lease_token__startswith=OF_WEB).count()


def test_orders_are_paid_while_the_worker_stands_still(running_shop):
    product, buyers = ProductFactory(on_hand=100), AccountFactory.create_batch(8)
    with running_shop.frozen("worker"), calls.Connections(running_shop, len(buyers)) as callers:
        answers = [call.result(30) for call in buy_all(callers, buyers, product)]
    assert {(answer.status, answer.json()["status"]) for answer in answers} == {(201, "paid")}
    assert calls.count_paid_once(product) == len(buyers)


def test_a_web_process_is_killed_under_40_waiting_buyers_and_each_is_told(running_shop):
    """Its calls are with the gateway. Their clients repeat with their keys at the process that is left."""
    product, buyers = ProductFactory(on_hand=100), AccountFactory.create_batch(BUYERS)
    with calls.Connections(running_shop, BUYERS) as callers:
        with running_shop.frozen("gateway"):
            waiting = calls.begun_at_both(
                running_shop, lambda some: buy_all(callers, some, product), buyers, product
            )
            assert leased_by_web() > 0
            os.kill(max(running_shop.web_processes()), signal.SIGKILL)
            killed_at = time.monotonic()
        lost = [one for one in waiting if isinstance(one.exception(30), urllib3.exceptions.HTTPError)]
        assert 0 < len(lost) < BUYERS
        repeated = buy_all(callers, [buyers[waiting.index(one)] for one in lost], product)
        answers = [one.result(40) for one in (*repeated, *(one for one in waiting if one not in lost))]
    told_seconds = time.monotonic() - killed_at
    assert {(answer.status, answer.json()["status"]) for answer in answers} == {(201, "paid")}
    assert told_seconds < LEASE_SECONDS + SETTLED_SECONDS
    assert calls.count_paid_once(product) == BUYERS
    running_shop.wait_until_ready()


def test_a_web_server_that_stops_finishes_the_payments_that_it_has_begun(running_shop):
    product, buyers = ProductFactory(on_hand=100), AccountFactory.create_batch(BUYERS)
    with running_shop.frozen("worker"), calls.Connections(running_shop, BUYERS) as callers:
        with running_shop.frozen("gateway"):
            waiting = buy_all(callers, buyers, product)
            wait_until(lambda: calls.orders_of(product).count() == BUYERS and leased_by_web() > 0)
            running_shop.children["web"].terminate()
        answers = [one.result(30) for one in waiting]
        assert {answer.status for answer in answers} <= {201, 202}
        assert running_shop.children["web"].wait(10) == 0
        assert leased_by_web() == 0
    running_shop.start("web")
    running_shop.wait_until_ready()
    assert calls.count_paid_once(product) == BUYERS
