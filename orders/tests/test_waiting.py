"""Requests that wait for an order occupy no thread: many more wait than there are threads."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from uuid import uuid4

import pytest

from accounts.tokens import token_pairs
from foundation.concurrency import event_loop
from foundation.concurrency.thread_pool import ThreadPool
from foundation.idempotency.recorded_answers import Answer as RecordedAnswer
from foundation.operations import dispatch
from foundation.redis import completion_notifications
from foundation.tests.asgi_client import Answer, send_request
from foundation.tests.factories import AccountFactory
from foundation.tests.live import Served, serving
from foundation.tests.racing import wait_until
from foundation.tests.waiting import within
from inventory.tests.factories import ProductFactory
from orders import payment_calls, selectors
from orders.models import Order
from orders.payment_calls import Begun
from orders.placement.strategies import group_commit as batching
from orders.schemas import UNSETTLED_STATUS, CurrentAnswer
from orders.tests import buying
from orders.tests.buying import order_of
from orders.tests.observed_stack import HTTP, LiveShop
from payments import rows
from scripts.stack import ports

pytestmark = pytest.mark.django_db(transaction=True)
BUYERS = 300


@pytest.fixture
def product():
    return ProductFactory(on_hand=1_000, price=1_000)


async def post(access: str, path: str, body, *, key="a", **headers: str) -> Answer:
    named = {"Idempotency-Key": key} | headers
    return await send_request("POST", f"/api/v1{path}", body, access=access, headers=named)


def access_of_buyers(count: int) -> list[str]:
    return [token_pairs.create_access_token(account) for account in AccountFactory.create_batch(count)]


@pytest.fixture
def few_threads(tmp_path, own_gateway, own_data_platform):
    """A server of one process with four threads, without workers."""
    with serving(
        tmp_path,
        workers=1,
        WEB_THREADS="4",
        GATEWAY_URL=f"http://{ports.HOST}:{own_gateway.port}",
        DATA_PLATFORM_URL=f"http://{ports.HOST}:{own_data_platform.port}",
    ) as server:
        yield server


def waiting_in(server: Served) -> float:
    """The number of requests that wait in the server."""
    lines = HTTP.request("GET", f"{server.address}/metrics").data.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("firstcome_waiting_requests "))


def test_an_order_that_is_settled_between_two_reads_is_not_answered_with_a_pending_payment(monkeypatch):
    """Its answer would be recorded, and repeated for good."""
    placed = buying.place(buying.account(points=0), ProductFactory(on_hand=10), token="tok_ok")
    reads = [(selectors, "read_orders"), (rows, "payments_of")]
    begun = list[str]()

    def settle_before_the_second(name, read):
        def reading(ids):
            begun.append(name)
            if len(begun) == 2:
                buying.advance(placed)
            return read(ids)

        return reading

    for module, name in reads:
        monkeypatch.setattr(module, name, settle_before_the_second(name, getattr(module, name)))
    answer = payment_calls.read_order_answers([placed.order.id], "en")[placed.order.id]

    assert len(begun) == 2
    assert not answer.is_settled


@pytest.mark.boots("a web server")
def test_300_buyers_wait_in_a_process_of_4_threads_and_all_get_201_once_it_is_settled(few_threads, product):
    shop, buyers = LiveShop(few_threads.address), AccountFactory.create_batch(BUYERS)
    call = partial(shop.post, path="/orders", body=order_of(product, "tok_ok"), Prefer="wait=30")
    with ThreadPoolExecutor(BUYERS) as threads:
        calls = [threads.submit(call, buyer) for buyer in buyers]
        wait_until(lambda: waiting_in(few_threads) == BUYERS, seconds=25)
        with within(3):
            for path in ("/healthz", "/readyz", "/api/v1/products"):
                assert HTTP.request("GET", f"{few_threads.address}{path}").status == 200
        buying.settle_everything()
        settled_at = time.monotonic()
        answers = [call.result(60) for call in calls]
    assert time.monotonic() - settled_at < 5
    assert {(answer.status, answer.json()["status"]) for answer in answers} == {(201, "paid")}
    assert waiting_in(few_threads) == 0


def test_a_repeat_that_cannot_be_read_is_not_answered_as_overloaded(product, monkeypatch):
    monkeypatch.setattr(dispatch, "enqueue_shared", lambda task: None)
    [access] = access_of_buyers(1)

    async def call_twice():
        first = await post(access, "/orders", order_of(product, "tok_ok"))
        monkeypatch.setattr(payment_calls._batcher, "_max_waiting", 0)
        return first, await post(access, "/orders", order_of(product, "tok_ok"))

    first, again = asyncio.run(call_twice())
    assert (first.status, again.status, Order.objects.count()) == (202, 503, 1)
    assert "unavailable" in again.body.decode()
    assert "nothing was done" not in again.body.decode()


@pytest.fixture
def slow_decision(monkeypatch, settings):
    """Orders are decided once this is set, in a process of four threads without limits."""
    monkeypatch.setattr(event_loop, "CALL_POOL", ThreadPool("few", threads=4, max_waiting=1_000))
    settings.RATE_ORDERS = None
    may_decide, together = threading.Event(), batching.place_batch

    def decide(order_requests):
        may_decide.wait(20)
        return together(order_requests)

    monkeypatch.setattr(batching.BATCHER, "_decide", decide)
    yield may_decide
    may_decide.set()


def test_a_call_that_is_cancelled_while_it_is_decided_is_recorded_all_the_same(slow_decision, product):
    [access] = access_of_buyers(1)

    async def give_up():
        call = asyncio.create_task(post(access, "/orders", order_of(product)))
        while not batching.BATCHER.is_busy():
            await asyncio.sleep(0.005)
        call.cancel()
        slow_decision.set()
        await asyncio.wait([call])
        return await post(access, "/orders", order_of(product))

    answer = asyncio.run(give_up())
    assert (answer.status, Order.objects.count()) == (201, 1)


def test_200_duplicates_of_a_slow_call_hold_no_thread_and_others_are_answered(slow_decision, product):
    access, other = access_of_buyers(2)

    async def call_all():
        first = asyncio.create_task(post(access, "/orders", order_of(product)))
        await asyncio.sleep(0.1)
        twins = [asyncio.create_task(post(access, "/orders", order_of(product))) for _ in range(200)]
        await asyncio.sleep(0.05)
        longest = 0.0
        for _ in range(10):
            began_at = time.monotonic()
            assert (await send_request("GET", "/api/v1/orders", access=other)).status == 200
            longest = max(longest, time.monotonic() - began_at)
        refused = await asyncio.gather(*twins)
        slow_decision.set()
        return await first, refused, longest

    first, refused, longest = asyncio.run(call_all())
    assert first.status == 201
    assert longest < 1
    assert {answer.status for answer in refused} == {409}
    assert all("idempotency_key_in_flight" in answer.body.decode() for answer in refused)
    assert Order.objects.count() == 1


def test_duplicates_that_wait_for_a_call_of_this_process_get_its_answer_when_it_ends(slow_decision, product):
    [access] = access_of_buyers(1)

    async def call_all():
        calls = [asyncio.create_task(post(access, "/orders", order_of(product))) for _ in range(100)]
        await asyncio.sleep(0.5)
        slow_decision.set()
        return await asyncio.gather(*calls)

    answers = asyncio.run(call_all())
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


def test_an_answer_that_may_still_change_ends_no_wait(monkeypatch):
    monkeypatch.setattr(completion_notifications, "LISTENING_RECHECK_SECONDS", 0.1)
    statuses = iter([UNSETTLED_STATUS, UNSETTLED_STATUS, 200])
    call = buying.keyed(AccountFactory())

    def read(subject_ids, language):
        status = next(statuses)
        return {id: CurrentAnswer(RecordedAnswer(status, b"{}")) for id in subject_ids}

    request = SimpleNamespace(header={"Prefer": "wait=20"}.get)
    answer = asyncio.run(payment_calls._wait(request, call, Begun(uuid4()), read))
    assert answer.status_code == 200
