"""Of several beats one acts, and another one takes over when it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import redis as redis_client
from django.utils import timezone

from scripts.stack import ports
from shop.models import ProcessLease
from shop.operations import beat_lease, heartbeats
from shop.operations.beat_lease import BeatLease
from shop.tests.outages import OwnRedis, database_away
from shop.tests.racing import race, wait_until
from shop.tests.test_beat import beat, is_swept, leave_something_to_sweep, task_names

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def kept(schedule: str) -> Iterator[BeatLease]:
    lease = BeatLease(schedule)
    lease.start()
    try:
        yield lease
    finally:
        lease.stop()


def test_beats_that_start_at_once_have_one_winner() -> None:
    taken = race([lambda name=f"beat {number}": beat_lease.take(name) for number in range(8)])
    assert sorted(taken) == [False] * 7 + [True]


def test_beats_that_find_a_lapsed_lease_at_once_have_one_winner() -> None:
    ProcessLease.objects.create(
        name="beat", holder="gone", leased_until=timezone.now() - timedelta(seconds=1)
    )
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
