"""Celery beat: its tasks with and without a broker; of several beats one acts, another takes over."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import redis as redis_client
from django.utils import timezone

from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from payments.models import Reconciliation
from scripts.stack import ports
from shop.models import IdempotencyKey, LawStatus, ProcessLease
from shop.operations import beat as beat_lease, heartbeats
from shop.operations.beat import BeatLease
from shop.tests.factories import AccountFactory
from shop.tests.outages import OwnRedis, database_away
from shop.tests.racing import race, wait_until
from shop.tests.second_process import environment

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def beat(folder: Path, broker_url: str, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Celery beat as in production, ten times as fast. `settings` are environment variables."""
    command = [sys.executable, "-m", "celery", "-A", "shop", "beat", "--schedule", str(folder / "schedule")]
    own = environment(BROKER_URL=broker_url, SWEEP_SECONDS="0.5", **settings)
    with subprocess.Popen([*command, "--pidfile="], env=own) as process:
        try:
            yield process
        finally:
            process.terminate()


def leave_something_to_sweep() -> None:
    """Create a key past the retention, which the housekeeping deletes."""
    IdempotencyKey.objects.create(
        account=AccountFactory.create(),
        key_hash="0" * 64,
        fingerprint="1" * 64,
        status=201,
        created_at=timezone.now() - timedelta(days=2),
    )


def is_swept() -> bool:
    return not IdempotencyKey.objects.exists()


def task_names(client: redis_client.Redis) -> set[bytes]:
    messages = b"".join(client.lrange("celery", 0, -1))
    return {name for name in (b"shop.sweep", b"orders.sweep") if b'"' + name + b'"' in messages}


def test_beat_runs_its_tasks_itself_only_while_the_broker_is_unavailable(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    leave_something_to_sweep()
    with beat(tmp_path, own_redis.url) as process, redis_client.Redis.from_url(own_redis.url) as client:
        wait_until(lambda: {b"shop.sweep", b"orders.sweep"} <= task_names(client), seconds=30)
        assert not is_swept()
        own_redis.stop()
        wait_until(is_swept)
        own_redis.start()
        wait_until(lambda: bool(task_names(client)))
        assert process.poll() is None


@pytest.mark.boots("a beat")
def test_without_a_broker_a_long_reconciliation_does_not_delay_the_sweep(tmp_path: Path) -> None:
    with socket.create_server((ports.HOST, 0)) as silent:
        silent.settimeout(30)
        gateway = {
            "GATEWAY_URL": f"http://{ports.HOST}:{silent.getsockname()[1]}",
            "GATEWAY_TIMEOUT_SECONDS": "60",
            "RECONCILE_SECONDS": "1",
        }
        with beat(tmp_path, f"redis://{ports.HOST}:{ports.free()}/0", **gateway) as process:
            call, _ = silent.accept()
            with call:
                for _ in range(3):
                    leave_something_to_sweep()
                    wait_until(is_swept, seconds=10)
                assert process.poll() is None
                assert Reconciliation.objects.count() == 1, "one at a time"


@pytest.mark.boots("a beat")
def test_without_a_broker_beat_audits_the_laws_itself(tmp_path: Path) -> None:
    drop = CampaignFactory.create(issued=1)
    with beat(tmp_path, f"redis://{ports.HOST}:{ports.free()}/0", AUDIT_SECONDS="1"):
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
def test_beats_that_start_or_find_a_lapsed_lease_at_once_have_one_winner(has_lapsed: bool) -> None:
    if has_lapsed:
        lapsed_at = timezone.now() - timedelta(seconds=1)
        ProcessLease.objects.create(name="beat", holder="gone", leased_until=lapsed_at)
    taken = race([lambda name=f"beat {number}": beat_lease.take(name) for number in range(8)])
    assert sorted(taken) == [False] * 7 + [True]


def test_a_lease_that_lapsed_is_free() -> None:
    beat_lease.take("one")
    ProcessLease.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert beat_lease.take("two")
    assert not beat_lease.take("one")


def test_a_lease_from_a_clock_that_was_set_back_since_is_free() -> None:
    ProcessLease.objects.create(name="beat", holder="one", leased_until=timezone.now() + timedelta(hours=1))
    assert beat_lease.take("two")


def test_a_lease_that_is_given_up_is_free_at_once_and_anothers_is_not_touched() -> None:
    beat_lease.take("one")
    beat_lease.release("two")
    assert not beat_lease.take("two")
    beat_lease.release("one")
    assert beat_lease.take("two")


def test_a_beat_that_stands_by_exposes_no_last_tick() -> None:
    """It exposed that of the beat that acts, and after handing over its own, which grew without end."""
    first, second = BeatLease("first"), BeatLease("second")
    first.refresh()
    heartbeats.record(heartbeats.BEAT)
    first.refresh()
    assert heartbeats.age_seconds(heartbeats.BEAT) is not None
    beat_lease.release(first.holder)
    second.refresh()
    first.refresh()
    assert not first.is_ours
    assert heartbeats.age_seconds(heartbeats.BEAT) is None
    with database_away():
        BeatLease("third").refresh()
    assert heartbeats.age_seconds(heartbeats.BEAT) is None


def test_a_beat_that_starts_again_with_its_schedule_need_not_wait_for_its_own_lease() -> None:
    with kept("/folder/schedule") as first:
        wait_until(lambda: first.is_ours)
        again = BeatLease("/folder/schedule")
        again.refresh()
        assert again.is_ours


def test_the_one_that_acts_goes_on_while_the_database_is_away_and_the_other_waits() -> None:
    acting, waiting = BeatLease("one"), BeatLease("two")
    acting.refresh()
    waiting.refresh()
    with database_away():
        acting.refresh()
        waiting.refresh()
    assert (acting.is_ours, waiting.is_ours) == (True, False)


def test_a_second_beat_sends_nothing_while_the_first_acts(own_redis: OwnRedis, tmp_path: Path) -> None:
    with kept("another") as other:
        wait_until(lambda: other.is_ours)
        with beat(tmp_path, own_redis.url), redis_client.Redis.from_url(own_redis.url) as client:
            wait_until(lambda: any(tmp_path.glob("schedule*")), seconds=90)
            wait_for_renewals(3)
            assert not client.llen("celery")
            other.stop()
            wait_until(lambda: bool(task_names(client)), seconds=60)


def wait_for_renewals(count: int) -> None:
    for _ in range(count):
        until = ProcessLease.objects.get().leased_until
        wait_until(lambda until=until: ProcessLease.objects.get().leased_until > until, seconds=30)


@pytest.mark.boots("a beat")
def test_a_beat_that_is_stopped_gives_its_lease_up(tmp_path: Path) -> None:
    leave_something_to_sweep()
    with beat(tmp_path, f"redis://{ports.HOST}:{ports.free()}/0") as process:
        wait_until(is_swept, seconds=30)
        process.terminate()
        process.wait(timeout=30)
    assert ProcessLease.objects.get().leased_until <= timezone.now()


def test_a_beat_whose_scheduler_hangs_lets_another_one_act(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread renewed the lease whatever the scheduler did, and no task was sent until it was killed."""
    monkeypatch.setattr(beat_lease, "LONGEST_TICK_SECONDS", 0.5)
    monkeypatch.setattr(beat_lease, "LEASE_SECONDS", 2)
    with kept("hanging") as hanging:
        wait_until(lambda: hanging.is_ours)
        wait_until(lambda: not hanging.is_ours)
        wait_until(lambda: beat_lease.take("other"))
        hanging.note_tick()
        assert not hanging.is_ours
