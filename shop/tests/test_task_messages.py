"""Messages of tasks: until when they are run, and a message that comes twice at once."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_client
from celery.beat import ScheduleEntry
from celery.schedules import schedule
from django.db import connection
from kombu import Message

from orders.tests import owners
from payments.tests import events
from shop import clock
from shop.celery import app
from shop.observability import logs
from shop.operations import beat
from shop.operations.celery_processes import Request, enter_task, leave_task
from shop.tasks import sweep
from shop.tests.outages import OwnRedis
from shop.tests.racing import wait_until

LIFETIME = timedelta(seconds=9)


def received(expires: datetime) -> Request:
    headers = {"id": "one", "task": sweep.name, "expires": expires.isoformat(), "lang": "py"}
    content = {"content_type": "application/json", "content_encoding": "utf-8"}
    message = Message(body="[[], {}, {}]", headers=headers, **content)
    return Request(message, app=app, task=sweep, **content)


def sent(own_redis: OwnRedis) -> Mapping[str, Any]:
    """The headers of the message that beat sends for a task that expires after `LIFETIME`."""
    scheduler = object.__new__(beat.Scheduler)
    scheduler.app = app
    entry = ScheduleEntry(
        name=sweep.name, task=sweep.name, schedule=schedule(1), app=app,
        options={"expires": LIFETIME.total_seconds()},
    )  # fmt: skip
    with app.connection_for_write(url=own_redis.url) as connection:
        entry.options["connection"] = connection
        scheduler.apply_async(entry)
    with redis_client.Redis.from_url(own_redis.url) as client:
        return json.loads(client.lpop("celery"))["headers"]


@pytest.mark.parametrize("minutes", [-15, 15])
def test_a_beat_whose_hosts_clock_is_wrong_sends_messages_that_expire_by_the_databases(
    own_redis: OwnRedis, minutes: int
) -> None:
    with clock.shifted(by=timedelta(minutes=minutes)):
        before = clock.now()
        expires = datetime.fromisoformat(sent(own_redis)["expires"])
        assert before + LIFETIME <= expires <= clock.now() + LIFETIME


def test_a_beat_whose_hosts_clock_was_set_back_was_silent_until_it_was_where_it_had_been() -> None:
    scheduled = app.conf.beat_schedule[sweep.name]["schedule"]
    entry = ScheduleEntry(name=sweep.name, task=sweep.name, schedule=schedule(scheduled, app=app), app=app)
    # The database's clock goes on, while the host's stays.
    with clock.shifted(by=timedelta(seconds=scheduled)):
        assert entry.is_due().is_due
        entry.last_run_at = clock.now()
    with clock.shifted(by=timedelta(seconds=2 * scheduled)):
        assert entry.is_due().is_due


@pytest.mark.django_db
def test_a_beat_was_silent_after_the_databases_clock_had_gone_back(tmp_path: Path) -> None:
    lease = SimpleNamespace(is_ours=True, note_tick=lambda: None, stop=lambda: None)
    ran: list[str] = []
    with clock.shifted(by=timedelta(minutes=15)):
        scheduler = beat.Scheduler(app, schedule_filename=str(tmp_path / "schedule"))
        scheduler._lease = lease  # type: ignore[assignment]  # another beat is not what is tested
        scheduler.apply_async = lambda entry, **_: ran.append(entry.task)  # type: ignore[method-assign]
        scheduler.tick()
    ran.clear()
    wait_until(lambda: scheduler.tick() is not None and bool(ran))
    scheduler.close()
    # What has the shortest period, a second, is due first.
    assert {app.conf.beat_schedule[name]["schedule"] for name in ran} == {1.0}


def test_a_worker_whose_hosts_clock_is_ahead_dropped_every_message_of_beat() -> None:
    assert sweep.Request == f"{Request.__module__}:{Request.__name__}"
    # The database is 15 minutes behind the host.
    with clock.shifted(by=timedelta(minutes=-15)):
        assert not received(clock.now() + LIFETIME).revoked()
        assert received(clock.now() - LIFETIME).maybe_expire()


def test_a_worker_whose_hosts_clock_is_behind_runs_no_message_that_has_expired() -> None:
    with clock.shifted(by=timedelta(minutes=15)):
        assert received(clock.now() - timedelta(minutes=5)).maybe_expire()


def test_a_message_that_came_twice_at_once_left_its_ids_in_a_thread() -> None:
    both_run = threading.Barrier(2)

    def run() -> Mapping[str, Any]:
        enter_task(task_id="one", task=sweep)
        both_run.wait(10)
        leave_task(task_id="one")
        return logs.current_ids()

    with ThreadPoolExecutor(2) as threads:
        assert [one.result() for one in [threads.submit(run) for _ in range(2)]] == [{}, {}]


LOOKING = {"orders.advance", "orders.handle_webhooks_due"}
"""The tasks that beat would send each second, to look for rows."""


@pytest.fixture
def sent_by_beat(monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Which of these tasks, each of which is due, beat sends."""
    scheduler = object.__new__(beat.Scheduler)
    scheduler.app = app
    taken: set[str] = set()

    def take(task: Any, arguments: Any, **_: Any) -> bool:
        taken.add(task.name)
        return True

    def send() -> set[str]:
        taken.clear()
        for name in LOOKING:
            scheduler.apply_async(ScheduleEntry(name=name, task=name, schedule=schedule(1), app=app))
        return set(taken)

    monkeypatch.setattr(beat.dispatch, "send_to_broker", take)
    return send


@pytest.mark.django_db(transaction=True)
def test_beat_sends_tasks_that_look_for_rows_while_there_are_some(
    sent_by_beat: Callable[[], set[str]],
) -> None:
    assert sent_by_beat() == set()
    owners.order("tok_ok")
    events.take()
    with clock.shifted(by=timedelta(minutes=1)):
        assert sent_by_beat() == LOOKING


@pytest.mark.django_db(transaction=True)
def test_beat_sends_them_while_the_database_can_not_be_read(
    sent_by_beat: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "NAME", "no_such_database")
        connection.close()
        assert sent_by_beat() == LOOKING
    assert sent_by_beat() == set()


@pytest.mark.django_db
def test_beat_rests_before_a_task_is_due(tmp_path: Path) -> None:
    """Celery's scheduler returns a negative pause in the last 10 ms before a task."""
    scheduler = beat.Scheduler(app, schedule_filename=str(tmp_path / "schedule"))
    scheduler.apply_async = lambda entry, **_: None  # type: ignore[method-assign]
    try:
        ends_at = time.monotonic() + 2
        ticks = 0
        while time.monotonic() < ends_at:
            time.sleep(max(0.0, scheduler.tick() or 0.0))
            ticks += 1
    finally:
        scheduler.close()
    assert ticks < 100
