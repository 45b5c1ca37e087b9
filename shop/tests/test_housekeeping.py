"""The sweep of `shop`, and the commands that sweep everything and rebuild Redis."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.utils import timezone
from structlog.testing import capture_logs

from accounts.models import RevokedToken
from accounts.signing_in import sign_ins
from accounts.tokens import token_pairs
from foundation.db import commit_marks
from foundation.errors import Throttled
from foundation.models import CommittedTransaction, IdempotencyKey
from foundation.operations import housekeeping
from foundation.rates import throttling
from foundation.redis import redis_client
from foundation.tests.commands import run, run_json
from foundation.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


def leave_something_to_sweep():
    """Create an old and a recent idempotency key, and an expired refresh token."""
    account = AccountFactory()
    for number, age in enumerate((timedelta(hours=25), timedelta(hours=23))):
        old = {"key_hash": str(number) * 64, "created_at": timezone.now() - age}
        IdempotencyKey.objects.create(account=account, status=201, **old)
    token_pairs.rotate(token_pairs.create_token_pair(account).refresh)
    RevokedToken.objects.update(expires_at=timezone.now())


def test_sessions_of_operators_were_never_deleted_and_are_swept_once_they_have_expired():
    for key, left in (("over", timedelta(0)), ("valid", timedelta(hours=1))):
        Session.objects.create(session_key=key, session_data="", expire_date=timezone.now() + left)

    assert housekeeping.sweep() == 1
    assert list(Session.objects.values_list("session_key", flat=True)) == ["valid"]


def test_a_failed_sweep_of_keys_does_not_prevent_the_others(transactional_db):
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

    assert not RevokedToken.objects.exists()
    assert not CommittedTransaction.objects.exists()
    assert IdempotencyKey.objects.count() == 2
    assert [(line["event"], line["what"]) for line in logged if "what" in line] == [
        ("not swept", "foundation.idempotency.recorded_answers")
    ]


def test_the_sweep_command_runs_every_task_of_beat_and_rows_that_are_no_longer_needed_are_swept():
    leave_something_to_sweep()

    _, output = run("sweep")

    assert "shop.sweep: 2\n" in output
    assert {line.partition(":")[0] for line in output.splitlines()} == set(settings.CELERY_BEAT_SCHEDULE)
    assert housekeeping.sweep() == 0
    assert list(IdempotencyKey.objects.values_list("key_hash", flat=True)) == ["1" * 64]


def test_only_keys_of_this_project_are_dropped_from_redis_and_throttles_survive():
    client = redis_client.client()
    for number in range(1_200):
        client.set(f"firstcome:in-flight:1:{number}", "x")
    client.set("celery", "another project's")

    assert run_json("rebuild_redis") == (0, {"dropped": 1_200})
    assert client.keys() == [b"celery"]
    assert run("rebuild_redis") == (0, "0 keys dropped from Redis.\n")
    for _ in range(10):
        throttling.count_attempt([(sign_ins.ATTEMPTS_BY_NAME_AND_ADDRESS, "ada")])
    assert run_json("rebuild_redis") == (0, {"dropped": 0})
    with pytest.raises(Throttled):
        throttling.count_attempt([(sign_ins.ATTEMPTS_BY_NAME_AND_ADDRESS, "ada")])
