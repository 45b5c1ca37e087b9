import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as redis_client
from django.db import connection
from django.utils import timezone

from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from payments.models import Reconciliation
from scripts.stack import ports
from shop.models import IdempotencyKey, LawStatus
from shop.tests.factories import AccountFactory
from shop.tests.outages import OwnRedis
from shop.tests.racing import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def beat(folder: Path, broker_url: str, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Celery beat as in production, ten times as fast. `settings` are environment variables."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    command = [sys.executable, "-m", "celery", "-A", "shop", "beat", "--schedule", str(folder / "schedule")]
    environment = (
        os.environ | {"DATABASE_URL": url, "BROKER_URL": broker_url, "SWEEP_SECONDS": "0.5"} | settings
    )
    with subprocess.Popen([*command, "--pidfile="], env=environment) as process:
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
