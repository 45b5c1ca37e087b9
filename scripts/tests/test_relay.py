"""The relay that delivers each task's message twice, late and out of order, between Redis databases."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from scripts.chaos.campaigns.tasks import campaign as tasks
from scripts.chaos.campaigns.tasks import relay
from scripts.chaos.campaigns.tasks.relay import READ, WRITTEN, Deliveries
from scripts.stack.instance import Instance
from scripts.tests.test_redis_faults import Server
from shop.tests.racing import wait_until

EXPIRES = "2026-11-24T12:00:00+00:00"
LONGEST_SECONDS = 2.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Instance]:
    """As much of a stack as the relay needs: its Redis."""
    instance = Instance(home=tmp_path, port=1, database="mariadb")
    for folder in (instance.run, instance.logs, instance.data):
        folder.mkdir(parents=True)
    server = Server(instance)
    server.start()
    yield instance
    server.stop()


def redis(instance: Instance, number: int) -> Redis:
    return Redis(unix_socket_path=str(instance.redis_socket), db=number, decode_responses=True)


def message(number: int, task: str = "shop.sweep") -> bytes:
    headers = {"task": task, "id": str(number), "expires": EXPIRES}
    return json.dumps({"body": "", "headers": headers, "properties": {"delivery_tag": "first"}}).encode()


def delivered(instance: Instance) -> list[Any]:
    return [json.loads(one) for one in reversed(redis(instance, READ).lrange("celery", 0, -1))]


@pytest.mark.boots("a Redis server")
def test_each_message_comes_twice_late_and_out_of_order(stack: Instance) -> None:
    written = redis(stack, WRITTEN)
    with relay.running(stack, seed="1", longest_seconds=LONGEST_SECONDS) as relayed:
        for number in range(20):
            written.lpush("celery", message(number))
        wait_until(lambda: len(delivered(stack)) == 40, seconds=30)
    ids = [one["headers"]["id"] for one in delivered(stack)]
    assert set(Counter(ids).values()) == {2}
    assert ids != sorted(ids, key=int)
    seen = relayed.by_task["shop.sweep"]
    assert (seen.messages, seen.copies) == (20, 40)
    assert LONGEST_SECONDS / 4 < seen.latest_seconds <= LONGEST_SECONDS
    assert seen.overtaken
    assert written.llen("celery") == 0


@pytest.mark.boots("a Redis server")
def test_what_waits_when_the_relay_ends_is_delivered_and_not_lost(stack: Instance) -> None:
    with relay.running(stack, seed="1", longest_seconds=3600) as relayed:
        redis(stack, WRITTEN).lpush("celery", message(1), message(2, "orders.sweep"))
        wait_until(lambda: sum(one.messages for one in relayed.by_task.values()) == 2)
        assert delivered(stack) == []
    assert Counter(one["headers"]["task"] for one in delivered(stack)) == {"shop.sweep": 2, "orders.sweep": 2}


def test_a_worker_that_drops_every_message_of_a_task_is_found(tmp_path: Path) -> None:
    ids = [f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "abcdef"]
    logs = [tmp_path / "worker.log", tmp_path / "second.log"]
    logs[0].write_text("\n".join(f"Task shop.sweep[{one}] succeeded in 1s" for one in ids))
    logs[1].write_text("\n".join(f"Task shop.relay[{one}] succeeded in 1s" for one in ids))
    runs = [tasks.runs_by_task([log]) for log in logs]
    seen = {"shop.sweep": Deliveries(messages=tasks.FEW), "shop.audit": Deliveries(messages=tasks.FEW - 1)}
    assert [*tasks.idle_workers(seen, runs)] == ["a worker has run none of the 10 messages of shop.sweep"]
