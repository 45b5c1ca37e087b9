"""The relay that delivers each task's message twice, late and out of order, between Redis databases."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from scripts.chaos.campaigns.tasks import campaign as tasks
from scripts.chaos.campaigns.tasks import relay
from scripts.chaos.campaigns.tasks.relay import READ, WRITTEN, Deliveries
from scripts.stack import SetupError
from scripts.stack.instance import Instance
from scripts.tests.test_redis_faults import Server
from shop.tests.racing import wait_until

EXPIRES = datetime.fromisoformat("2026-11-24T12:00:00+00:00")
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


def message(number: int, task: str = "shop.sweep", expires: datetime = EXPIRES) -> bytes:
    headers = {"task": task, "id": str(number), "expires": expires.isoformat()}
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


@pytest.mark.boots("a Redis server")
def test_a_message_that_had_expired_when_it_was_sent_is_counted(stack: Instance) -> None:
    left = {"orders.sweep": timedelta(minutes=-2), "shop.sweep": timedelta(minutes=2)}
    with relay.running(stack, seed="1", longest_seconds=0.1) as relayed:
        for number, (task, seconds) in enumerate(left.items()):
            redis(stack, WRITTEN).lpush("celery", message(number, task, datetime.now(UTC) + seconds))
        wait_until(lambda: len(delivered(stack)) == 4)
    assert {task: one.expired for task, one in relayed.by_task.items()} == {
        "orders.sweep": 1,
        "shop.sweep": 0,
    }


def test_a_worker_that_drops_every_message_of_a_task_is_found(tmp_path: Path) -> None:
    ids = [f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "abcdef"]
    logs = [tmp_path / "worker.log", tmp_path / "second.log"]
    logs[0].write_text("\n".join(f"Task shop.sweep[{one}] succeeded in 1s" for one in ids))
    logs[1].write_text("\n".join(f"Task shop.relay[{one}] succeeded in 1s" for one in ids))
    runs = [tasks.runs_by_task([log]) for log in logs]
    seen = {"shop.sweep": Deliveries(messages=tasks.FEW), "shop.audit": Deliveries(messages=tasks.FEW - 1)}
    assert [*tasks.idle_workers(seen, runs)] == ["a worker has run none of the 10 messages of shop.sweep"]


def test_a_copy_expires_later_by_its_delay_and_is_acknowledged_by_itself() -> None:
    copies = [json.loads(relay.late(message(1), 30)) for _ in range(2)]
    for copy in copies:
        assert copy["headers"]["expires"] == (EXPIRES + timedelta(seconds=30)).isoformat()
    tags = {copy["properties"]["delivery_tag"] for copy in copies}
    assert len(tags) == 2
    assert "first" not in tags


def test_a_message_that_two_workers_ran_counts_as_run_twice(tmp_path: Path) -> None:
    one, other = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "ab")
    logs = [tmp_path / "worker.log", tmp_path / "second.log"]
    logs[0].write_text(
        f'{{"event": "Task shop.sweep[{one}] succeeded in 0.1s: 0"}}\nTask shop.sweep[{other}] received'
    )
    logs[1].write_text(f"Task shop.sweep[{one}] succeeded in 2s\nTask orders.sweep[{other}] succeeded in 2s")
    assert tasks.runs_by_task(logs) == {"shop.sweep": {one: 2}, "orders.sweep": {other: 1}}


def test_workers_that_register_different_tasks_are_no_two_of_a_kind(tmp_path: Path) -> None:
    logs = [tmp_path / "worker.log", tmp_path / "second.log"]
    for log in logs:
        log.write_text("[tasks]\n  . shop.sweep\n  . orders.sweep\n\n")
    assert tasks.registered_tasks(logs) == ["orders.sweep", "shop.sweep"]
    logs[1].write_text("[tasks]\n  . shop.sweep\n")
    with pytest.raises(SetupError, match="same tasks"):
        tasks.registered_tasks(logs)
