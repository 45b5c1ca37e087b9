"""Sweeping at the edge, and the commands that sweep all and empty Redis."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from structlog.testing import capture_logs

from shop.accounts import sign_ins, tokens
from shop.celery import app
from shop.db import commit_marks
from shop.errors import Throttled
from shop.models import CommittedTransaction, IdempotencyKey
from shop.operations import housekeeping
from shop.rates import throttling
from shop.redis import redis_client
from shop.tests.commands import run, run_json
from shop.tests.factories import AccountFactory
from shop.tests.outages import OwnRedis


def leave_something_to_sweep() -> None:
    """One old and one fresh idempotency key, and one expired refresh token."""
    account = AccountFactory()
    for number, age in enumerate((timedelta(hours=25), timedelta(hours=23))):
        IdempotencyKey.objects.create(
            account=account,
            key_hash=str(number) * 64,
            fingerprint="f" * 64,
            status=201,
            created_at=timezone.now() - age,
        )
    tokens.rotate(tokens.create_token_pair(account).refresh)
    OutstandingToken.objects.update(expires_at=timezone.now())


@pytest.mark.django_db
def test_what_nobody_needs_is_swept_away() -> None:
    leave_something_to_sweep()

    assert housekeeping.sweep() == 2
    assert housekeeping.sweep() == 0
    assert list(IdempotencyKey.objects.values_list("key_hash", flat=True)) == ["1" * 64]


@pytest.mark.django_db(transaction=True)
def test_keys_that_can_not_be_swept_keep_no_token_and_no_mark_from_being_swept() -> None:
    leave_something_to_sweep()
    CommittedTransaction.objects.update(at=timezone.now() - 2 * commit_marks.RETENTION)
    assert CommittedTransaction.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER no_sweep BEFORE DELETE ON shop_idempotencykey FOR EACH ROW "
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'one bad row'"
        )
        try:
            with capture_logs() as logged, pytest.raises(DatabaseError, match="one bad row"):
                housekeeping.sweep()
        finally:
            cursor.execute("DROP TRIGGER no_sweep")

    assert not OutstandingToken.objects.exists()
    assert not CommittedTransaction.objects.exists()
    assert IdempotencyKey.objects.count() == 2
    assert [(line["event"], line["what"]) for line in logged] == [
        ("not swept", "shop.idempotency.recorded_answers")
    ]


@pytest.mark.django_db
def test_every_scheduled_task_is_there() -> None:
    app.loader.import_default_modules()

    assert settings.CELERY_BEAT_SCHEDULE.keys() <= app.tasks.keys()
    assert "shop.sweep" in settings.CELERY_BEAT_SCHEDULE


@pytest.mark.django_db
def test_the_command_does_all_that_beat_has_done() -> None:
    leave_something_to_sweep()

    _, told = run("sweep")

    assert "shop.sweep: 2\n" in told
    assert {line.partition(":")[0] for line in told.splitlines()} == set(settings.CELERY_BEAT_SCHEDULE)


@pytest.mark.django_db
def test_our_keys_are_dropped_from_redis_and_nobody_elses() -> None:
    client = redis_client.client()
    for number in range(1_200):
        client.set(f"firstcome:in-flight:1:{number}", "x")
    client.set("celery", "somebody else's")

    assert run_json("rebuild_redis") == (0, {"dropped": 1_200})
    assert client.keys() == [b"celery"]
    assert run("rebuild_redis") == (0, "0 keys dropped from Redis.\n")


@pytest.mark.django_db
def test_guessers_are_not_let_go_on() -> None:
    for _ in range(10):
        throttling.count_attempt([(sign_ins.ATTEMPTS_BY_NAME_AND_ADDRESS, "ada")])

    assert run_json("rebuild_redis") == (0, {"dropped": 0})
    with pytest.raises(Throttled):
        throttling.count_attempt([(sign_ins.ATTEMPTS_BY_NAME_AND_ADDRESS, "ada")])


def test_a_redis_that_is_down_is_told_in_a_sentence(own_redis: OwnRedis) -> None:
    own_redis.stop()

    with pytest.raises(CommandError, match=r"Redis can't be rebuilt: .* Start it, then run this again\."):
        run("rebuild_redis")
