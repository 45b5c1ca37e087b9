import logging
import socket
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_client
from celery import Celery
from django.db import connection

from foundation.operations import dispatch
from foundation.operations.celery_processes import Consumer
from foundation.outbound.circuit_breaker import CircuitBreaker
from foundation.tests.outages import OwnRedis, nowhere
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import connection_id, is_connected
from scripts.stack import ports
from shop import configuration


@pytest.fixture(autouse=True)
def _no_outage_yet(monkeypatch):
    monkeypatch.setattr(dispatch, "_breaker", CircuitBreaker("broker"))


@pytest.fixture
def ran():
    return []


@pytest.fixture
def task_on(ran):
    """A task of an app that is configured like the shop's, with the test's broker."""
    apps: list[Celery] = []

    def note(name):
        ran.append(name)

    def make(broker_url, does=note):
        app = Celery("tests", set_as_current=False)
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.conf.broker_url = broker_url
        apps.append(app)
        return app.task(does, name="tests.task", shared=False)

    yield make
    for app in apps:
        app.close()


def count_sent(server: OwnRedis) -> int:
    with redis_client.Redis.from_url(server.url) as client:
        return int(client.llen("celery"))


def timed(call: Callable[[], Any]) -> float:
    started_at = time.monotonic()
    call()
    return time.monotonic() - started_at


def test_without_the_broker_tasks_run_in_this_process_soon_and_a_failed_one_affects_no_other(
    own_redis, task_on, ran
):
    own_redis.stop()
    task = task_on(own_redis.url)
    assert timed(lambda: dispatch.enqueue(task, "one")) < 0.5
    assert timed(lambda: wait_until(lambda: ran == ["one"])) < 1.5
    names = [str(number) for number in range(50)]
    assert timed(lambda: [dispatch.enqueue(task, name) for name in names]) < 0.5
    assert timed(lambda: wait_until(lambda: sorted(ran) == sorted(["one", *names]))) < 1.5

    def fail():
        raise ZeroDivisionError

    broken = task_on(own_redis.url, fail)
    for _ in range(dispatch.THREADS * 2):
        dispatch.enqueue(broken)
    ran.clear()
    dispatch.enqueue(task, "after them")
    wait_until(lambda: bool(ran))
    assert ran == ["after them"]


def test_a_recovered_broker_is_used_again(own_redis, task_on, ran):
    task = task_on(own_redis.url)
    assert dispatch.send_to_broker(task, ("before",))
    own_redis.stop()
    assert not dispatch.send_to_broker(task, ("meanwhile",))
    own_redis.start()
    wait_until(lambda: dispatch.send_to_broker(task, ("after",)))
    assert all(dispatch.send_to_broker(task, ("after",)) for _ in range(3))
    assert count_sent(own_redis) == 4


def test_a_hanging_broker_does_not_delay_the_caller_and_at_most_one_send_waits_for_it(task_on, ran):
    with socket.create_server((ports.HOST, 0)) as silent:
        task = task_on(f"redis://{ports.HOST}:{silent.getsockname()[1]}/0")
        assert timed(lambda: [dispatch.enqueue(task, str(number)) for number in range(20)]) < 0.5
        wait_until(lambda: len(ran) == 20, seconds=20)
        assert not dispatch.send_to_broker(task, ("probe",))
        ended_at = time.monotonic() + 6
        waits = []
        pause = threading.Event()

        def send_repeatedly():
            while time.monotonic() < ended_at:
                waits.append(timed(lambda: dispatch.send_to_broker(task, ("again",))))
                pause.wait(0.01)

        race([send_repeatedly] * dispatch.THREADS)
    assert 1 <= sum(wait > 0.5 for wait in waits) <= 3


def test_a_task_in_this_process_leaves_no_connection_open(counting, own_redis, task_on):
    own_redis.stop()
    used = []

    def note_connection():
        used.append(connection_id())

    task = task_on(own_redis.url, note_connection)
    connection.settings_dict["CONN_MAX_AGE"] = 0
    try:
        dispatch.enqueue(task)
        wait_until(lambda: len(used) == 1)
        wait_until(lambda: not is_connected(used[0]))
        assert used[0] != connection_id()
    finally:
        connection.settings_dict["CONN_MAX_AGE"] = 60


def test_tasks_beyond_the_limit_are_left_to_the_sweeper(own_redis, task_on, ran, monkeypatch):
    monkeypatch.setattr(dispatch, "_free_slots", threading.BoundedSemaphore(3))
    own_redis.stop()
    may_end = threading.Event()

    def block(name):
        assert may_end.wait(30)
        ran.append(name)

    task = task_on(own_redis.url, block)
    for number in range(5):
        dispatch.enqueue(task, str(number))
    may_end.set()
    wait_until(lambda: sorted(ran) == ["0", "1", "2"])
    wait_until(lambda: dispatch._free_slots._value == 3)
    dispatch.enqueue(task, "later")
    wait_until(lambda: sorted(ran) == ["0", "1", "2", "later"])


def test_concurrent_calls_share_a_message(task_on, own_redis):
    def fail():
        raise AssertionError("the broker is available")

    task = task_on(own_redis.url, fail)
    for _ in range(100):
        dispatch.enqueue_shared(task)
    time.sleep(2 * dispatch.PAUSE_SECONDS)
    sent = count_sent(own_redis)
    assert 1 <= sent <= 2
    dispatch.enqueue_shared(task)
    wait_until(lambda: count_sent(own_redis) == sent + 1)


def test_concurrent_calls_run_in_this_process_without_the_broker(task_on):
    calls = []

    def note():
        calls.append(time.monotonic())

    task = task_on(nowhere("redis"), note)
    for _ in range(3):
        dispatch.enqueue_shared(task)
    called_last_at = time.monotonic()
    wait_until(lambda: bool(calls) and calls[-1] >= called_last_at, seconds=5)
    assert len(calls) <= 2


def test_another_node_of_the_broker_takes_the_messages_of_one_that_is_frozen(task_on, ran, own_redis):
    with socket.create_server((ports.HOST, 0)) as frozen:
        urls = [f"redis://{ports.HOST}:{frozen.getsockname()[1]}/0", own_redis.url]
        task = task_on(";".join(urls))
        options = configuration.broker_transport_options(urls)
        task.app.conf.broker_transport_options = options
        assert timed(lambda: dispatch.send_to_broker(task, ["first"])) < 10
    assert (ran, count_sent(own_redis)) == ([], 1)


def test_a_worker_outlives_a_task_that_ends_after_its_connection_was_lost(own_redis, task_on):
    app = task_on(own_redis.url).app
    connection = app.connection_for_read()
    queue = connection.SimpleQueue("lost")
    queue.put("a message")
    message = queue.get(timeout=5)
    # As after an outage.
    connection.collect()
    message.channel._disconnect_pools()
    with pytest.raises(AttributeError):
        message.ack()
    # Not by a worker: the signal of its start would start the delivery of events here.
    consumer = Consumer(
        lambda request: None,
        app=app,
        pool=SimpleNamespace(num_processes=1, is_green=True),
        controller=SimpleNamespace(use_eventloop=False, state=None),
        worker_options={},
    )
    message.ack_log_error(logging.getLogger(), consumer.connection_errors)


def test_a_worker_outlives_a_connection_that_cannot_give_its_messages_back(task_on, monkeypatch):
    lost = Consumer.__new__(Consumer)
    lost.app = task_on("memory://").app
    lost.connection = lost.app.connection_for_read()
    # As kombu fails when Redis went away with messages that are not acknowledged.
    monkeypatch.setattr(lost.connection, "close", lambda: getattr(None, "hostname"))  # noqa: B009
    lost.on_connection_error_after_connected(ConnectionError())
    assert lost.connection is None
