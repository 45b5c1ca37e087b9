"""Celery beat: its tasks and messages, with and without a broker; of several beats one acts."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
import redis as redis_client
from celery.beat import ScheduleEntry
from celery.schedules import schedule
from django.db import connection
from django.utils import timezone
from kombu import Message

from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.models import IdempotencyKey, LawStatus, ProcessLease
from foundation.observability import logs
from foundation.operations import beat as beats, heartbeats
from foundation.operations.beat import BeatLease
from foundation.operations.celery_processes import Request, enter_task, leave_task
from foundation.tasks import sweep
from foundation.tests.beats import beat
from foundation.tests.factories import AccountFactory
from foundation.tests.instants import ago
from foundation.tests.outages import database_away, nowhere
from foundation.tests.racing import race, wait_until
from foundation.tests.waiting import shifted
from orders.tests import owners
from payments.models import Reconciliation
from payments.tests import events
from scripts.stack import ports
from shop.celery import app

pytestmark = pytest.mark.django_db(transaction=True)


def leave_something_to_sweep():
    """Create a key past the retention, which the housekeeping deletes."""
    old = {"key_hash": "0" * 64, "created_at": timezone.now() - timedelta(days=2)}
    IdempotencyKey.objects.create(account=AccountFactory(), status=201, **old)


def is_swept() -> bool:
    return not IdempotencyKey.objects.exists()


def task_names(client: redis_client.Redis) -> set[bytes]:
    messages = b"".join(client.lrange("celery", 0, -1))
    return {name for name in (b"coupons.sweep", b"sales.sweep") if b'"' + name + b'"' in messages}


def test_beat_runs_its_tasks_itself_only_while_the_broker_is_unavailable(own_redis, tmp_path):
    leave_something_to_sweep()
    with beat(tmp_path, own_redis.url) as process, redis_client.Redis.from_url(own_redis.url) as client:
        wait_until(lambda: {b"coupons.sweep", b"sales.sweep"} <= task_names(client), seconds=30)
        assert not is_swept()
        own_redis.stop()
        wait_until(is_swept)
        own_redis.start()
        wait_until(lambda: bool(task_names(client)))
        assert process.poll() is None


@pytest.mark.boots("a beat")
def test_without_a_broker_a_long_reconciliation_does_not_delay_the_sweep(tmp_path):
    with socket.create_server((ports.HOST, 0)) as silent:
        silent.settimeout(30)
        gateway = {
            "GATEWAY_URL": f"http://{ports.HOST}:{silent.getsockname()[1]}",
            "GATEWAY_TIMEOUT_SECONDS": "60",
            "RECONCILE_SECONDS": "1",
        }
        with beat(tmp_path, nowhere("redis"), **gateway) as process:
            call, _ = silent.accept()
            with call:
                for _ in range(3):
                    leave_something_to_sweep()
                    wait_until(is_swept, seconds=10)
                assert process.poll() is None
                assert Reconciliation.objects.count() == 1, "one at a time"


@pytest.mark.boots("a beat")
def test_without_a_broker_beat_audits_the_laws_itself(tmp_path):
    drop = CampaignFactory(issued=1)
    with beat(tmp_path, nowhere("redis"), AUDIT_SECONDS="1"):
        wait_until(lambda: LawStatus.objects.filter(law="L1", holds=False).exists(), seconds=30)
        assert LawStatus.objects.get(law="L1").offenders == [str(drop.pk)]
        Campaign.objects.update(issued=0)
        wait_until(lambda: LawStatus.objects.filter(law="L1", holds=True).exists(), seconds=30)


@contextmanager
def kept(schedule: str) -> Iterator[BeatLease]:
    lease = BeatLease(schedule)
    lease.start()
    try:
        yield lease
    finally:
        lease.stop()


@pytest.mark.parametrize("has_lapsed", [False, True])
def test_beats_that_start_or_find_a_lapsed_lease_at_once_have_one_winner(has_lapsed):
    if has_lapsed:
        lapsed_at = timezone.now() - timedelta(seconds=1)
        ProcessLease.objects.create(name="beat", holder="gone", leased_until=lapsed_at)
    taken = race([lambda name=f"beat {number}": beats.take(name) for number in range(8)])
    assert sorted(taken) == [False] * 7 + [True]


def test_a_lease_that_is_given_up_is_free_at_once_and_anothers_is_not_touched():
    beats.take("one")
    beats.release("two")
    assert not beats.take("two")
    beats.release("one")
    assert beats.take("two")
    # From a clock that was set back since.
    ProcessLease.objects.update(leased_until=timezone.now() + timedelta(hours=1))
    assert beats.take("one")


def test_a_beat_that_stands_by_exposes_no_last_tick():
    """It exposed that of the beat that acts, and after handing over its own, which grew without end."""
    first, second = BeatLease("first"), BeatLease("second")
    first.refresh()
    heartbeats.record(heartbeats.BEAT)
    first.refresh()
    assert heartbeats.age_seconds(heartbeats.BEAT) is not None
    beats.release(first.holder)
    second.refresh()
    first.refresh()
    assert not first.is_ours
    assert heartbeats.age_seconds(heartbeats.BEAT) is None
    with database_away():
        BeatLease("third").refresh()
    assert heartbeats.age_seconds(heartbeats.BEAT) is None


def test_the_one_that_acts_goes_on_while_the_database_is_away_and_the_other_waits():
    acting, waiting, again = BeatLease("one"), BeatLease("two"), BeatLease("one")
    for lease in (acting, waiting, again):
        lease.refresh()
    assert again.is_ours, "one that starts again with its schedule need not wait for its own lease"
    with database_away():
        acting.refresh()
        waiting.refresh()
    assert (acting.is_ours, waiting.is_ours) == (True, False)


def test_a_second_beat_sends_nothing_while_the_first_acts(own_redis, tmp_path):
    with kept("another") as other:
        wait_until(lambda: other.is_ours)
        with beat(tmp_path, own_redis.url), redis_client.Redis.from_url(own_redis.url) as client:
            wait_until(lambda: any(tmp_path.glob("schedule*")), seconds=90)
            for _ in range(3):
                until = ProcessLease.objects.get().leased_until
                wait_until(lambda until=until: ProcessLease.objects.get().leased_until > until, seconds=30)
            assert not client.llen("celery")
            other.stop()
            wait_until(lambda: bool(task_names(client)), seconds=60)


@pytest.mark.boots("a beat")
def test_a_beat_that_is_stopped_gives_its_lease_up(tmp_path):
    leave_something_to_sweep()
    with beat(tmp_path, nowhere("redis")) as process:
        wait_until(is_swept, seconds=30)
        process.terminate()
        process.wait(timeout=30)
    assert ProcessLease.objects.get().leased_until <= timezone.now()


def test_a_beat_whose_scheduler_hangs_lets_another_one_act(monkeypatch):
    """Its thread renewed the lease whatever the scheduler did, and no task was sent until it was killed."""
    monkeypatch.setattr(beats, "LONGEST_TICK_SECONDS", 0.5)
    monkeypatch.setattr(beats, "LEASE_SECONDS", 2)
    with kept("hanging") as hanging:
        wait_until(lambda: hanging.is_ours)
        wait_until(lambda: not hanging.is_ours)
        wait_until(lambda: beats.take("other"))
        hanging.note_tick()
        assert not hanging.is_ours


LIFETIME = timedelta(seconds=9)


def received(expires: datetime) -> Request:
    headers = {"id": "one", "task": sweep.name, "expires": expires.isoformat(), "lang": "py"}
    content = {"content_type": "application/json", "content_encoding": "utf-8"}
    message = Message(body="[[], {}, {}]", headers=headers, **content)
    return Request(message, app=app, task=sweep, **content)


@pytest.mark.parametrize("minutes", [-15, 15])
def test_a_beat_whose_hosts_clock_is_wrong_sends_messages_that_expire_by_the_databases(own_redis, minutes):
    scheduler = object.__new__(beats.Scheduler)
    scheduler.app = app
    entry = ScheduleEntry(name=sweep.name, task=sweep.name, schedule=schedule(1), app=app)
    with shifted(minutes=minutes):
        before = clock.now()
        with app.connection_for_write(url=own_redis.url) as connection:
            entry.options |= {"expires": LIFETIME.total_seconds(), "connection": connection}
            scheduler.apply_async(entry)
        with redis_client.Redis.from_url(own_redis.url) as client:
            headers = json.loads(client.lpop("celery"))["headers"]
        assert before + LIFETIME <= datetime.fromisoformat(headers["expires"]) <= clock.now() + LIFETIME


def test_a_beat_whose_hosts_clock_was_set_back_was_silent_until_it_was_where_it_had_been():
    scheduled = app.conf.beat_schedule[sweep.name]["schedule"]
    entry = ScheduleEntry(name=sweep.name, task=sweep.name, schedule=schedule(scheduled, app=app), app=app)
    # The database's clock goes on, while the host's stays.
    with shifted(seconds=scheduled):
        assert entry.is_due().is_due
        entry.last_run_at = clock.now()
    with shifted(seconds=2 * scheduled):
        assert entry.is_due().is_due


def test_a_beat_was_silent_after_the_databases_clock_had_gone_back(tmp_path):
    lease = SimpleNamespace(is_ours=True, note_tick=lambda: None, stop=lambda: None)
    ran = []
    with shifted(minutes=15):
        scheduler = beats.Scheduler(app, schedule_filename=str(tmp_path / "schedule"))
        scheduler._lease = lease  # type: ignore[assignment]  # another beat is not what is tested
        scheduler.apply_entry = lambda entry, **_: ran.append(entry.task)  # type: ignore[method-assign]
        scheduler.tick()
    ran.clear()
    wait_until(lambda: scheduler.tick() is not None and bool(ran))
    scheduler.close()
    # What has the shortest period, a second, is due first.
    assert {app.conf.beat_schedule[name]["schedule"] for name in ran} == {1.0}


def test_a_worker_whose_hosts_clock_is_ahead_dropped_every_message_of_beat():
    assert sweep.Request == f"{Request.__module__}:{Request.__name__}"
    # The database is 15 minutes behind the host.
    with shifted(minutes=-15):
        assert not received(clock.now() + LIFETIME).revoked()
        assert received(clock.now() - LIFETIME).maybe_expire()
    # Nor does one whose host's clock is behind run a message that has expired.
    with shifted(minutes=15):
        assert received(ago(minutes=5)).maybe_expire()


def test_a_message_that_came_twice_at_once_left_its_ids_in_a_thread():
    both_run = threading.Barrier(2)

    def run():
        enter_task(task_id="one", task=sweep)
        both_run.wait(10)
        leave_task(task_id="one")
        return logs.current_ids()

    with ThreadPoolExecutor(2) as threads:
        assert [one.result() for one in [threads.submit(run) for _ in range(2)]] == [{}, {}]


LOOKING = {"orders.advance", "orders.handle_webhooks_due"}
"""The tasks that beat would send each second, to look for rows."""


def test_beat_has_rows_looked_for_while_there_are_some_or_the_database_can_not_be_read(monkeypatch):
    scheduler = object.__new__(beats.Scheduler)
    scheduler.app = app
    sent = set()
    monkeypatch.setattr(beats.dispatch, "send_to_broker", lambda task, *_, **__: sent.add(task.name) or True)

    def sent_by_beat():
        """Which of these tasks, each of which is due, beat sends."""
        sent.clear()
        for name in LOOKING:
            scheduler.apply_entry(ScheduleEntry(name=name, task=name, schedule=schedule(1), app=app))
        return sent

    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "NAME", "no_such_database")
        connection.close()
        assert sent_by_beat() == LOOKING
    assert sent_by_beat() == set()
    owners.order("tok_ok")
    events.take()
    with shifted(minutes=1):
        assert sent_by_beat() == LOOKING


def test_beat_rests_before_a_task_is_due(tmp_path):
    """Celery's scheduler returns a negative pause in the last 10 ms before a task."""
    scheduler = beats.Scheduler(app, schedule_filename=str(tmp_path / "schedule"))
    scheduler.apply_entry = lambda entry, **_: None  # type: ignore[method-assign]
    try:
        ends_at = time.monotonic() + 2
        ticks = 0
        while time.monotonic() < ends_at:
            time.sleep(max(0.0, scheduler.tick() or 0.0))
            ticks += 1
    finally:
        scheduler.close()
    assert ticks < 100


def test_beat_wakes_up_once_for_tasks_that_are_due_soon_after_another(tmp_path):
    scheduler = beats.Scheduler(app, schedule_filename=str(tmp_path / "schedule"))
    scheduler._lease = SimpleNamespace(is_ours=True, note_tick=lambda: None, stop=lambda: None)  # type: ignore[assignment]
    sent = []
    scheduler.apply_entry = lambda entry, **_: sent.append(entry.task)  # type: ignore[method-assign]
    now = app.now()
    for entry in scheduler.schedule.values():
        entry.last_run_at = now
    for number, name in enumerate(sorted(LOOKING)):
        scheduler.schedule[name].last_run_at = now - timedelta(seconds=0.5 - 0.06 * number)
    try:
        for _ in range(2):
            pause = scheduler.tick()
            assert not sent
            time.sleep(pause)
            while not scheduler.tick():
                pass
            assert set(sent) == LOOKING
            sent.clear()
    finally:
        scheduler.close()
