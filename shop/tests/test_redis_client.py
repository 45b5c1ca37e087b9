"""The shop's Redis client: through outages, and behind Sentinels, where it finds the next primary."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from django.conf import LazySettings
from redis import Redis
from redis.exceptions import RedisError

from foundation.redis import redis_client
from foundation.tests.racing import race, wait_until
from foundation.tests.test_outbound_calls import serving
from scripts.stack import children, ports, system_packages
from scripts.tests.circles import boots
from shop import configuration


@pytest.fixture(autouse=True)
def _forget_outages():
    yield
    redis_client.reset()


def count(client: Redis):
    return client.incr("count")


def timed(call) -> tuple[Any, float]:
    started_at = time.monotonic()
    return call(), time.monotonic() - started_at


@contextmanager
def server_that(does, settings: LazySettings):
    """A server for the shop's Redis client that calls `does(connection)` for each connection."""
    with serving(does) as address:
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": f"redis://{address}/0"}}
        yield


def test_while_redis_is_down_calls_are_skipped_and_it_recovers_by_itself(own_redis):
    own_redis.stop()
    first, seconds = timed(lambda: redis_client.attempt(count, otherwise=-1))
    assert (first, seconds < 1) == (-1, True)
    rest, seconds = timed(lambda: [redis_client.attempt(count, otherwise=-1) for _ in range(100)])
    assert (set(rest), seconds < 1) == ({-1}, True)
    own_redis.start()
    wait_until(lambda: redis_client.attempt(count, otherwise=-1) == 1)
    assert redis_client.attempt(count, otherwise=-1) == 2
    # A refused call is no outage.
    redis_client.attempt(lambda client: client.set("text", "no number"), otherwise=None)
    assert redis_client.attempt(lambda client: client.incr("text"), otherwise=-1) == -1
    assert redis_client.attempt(count, otherwise=-1) == 3


def test_a_redis_that_hangs_costs_one_caller_at_a_time_a_second(settings):
    over = threading.Event()
    with server_that(lambda connection: over.wait(60), settings):
        redis_client.attempt(count, otherwise=-1)
        deadline = time.monotonic() + 3

        def call_repeatedly():
            slow = []
            while time.monotonic() < deadline:
                _, seconds = timed(lambda: redis_client.attempt(count, otherwise=-1))
                if seconds > 0.4:
                    slow.append(seconds)
                threading.Event().wait(0.01)
            return slow

        slow = [seconds for times in race([call_repeatedly] * 8) for seconds in times]
    over.set()
    assert 1 <= len(slow) <= 4
    assert max(slow) < 2


def test_a_call_is_never_repeated_by_the_client(settings):
    """It may have had its effect: a counter or a script must not run twice."""
    received = []

    def break_off(connection):
        received.append(connection.recv(4096))

    with server_that(break_off, settings):
        assert redis_client.attempt(count, otherwise=-1) == -1
    assert len(received) == 1


PASSWORD = "of-the-servers"
SENTINEL_PASSWORD = "of-the-sentinels"


@contextmanager
def server(folder: Path, name: str, port: int, *lines: str, mode="") -> Iterator["Popen[bytes]"]:
    """redis-server with these settings; it may be killed meanwhile."""
    path, log = folder / f"{name}.conf", folder / f"{name}.log"
    (folder / name).mkdir()
    own = [f"bind {ports.HOST}", f"port {port}", f"dir {folder / name}"]
    path.write_text("\n".join([*own, *lines]) + "\n")
    command = [system_packages.program("redis-server"), str(path), *([mode] if mode else [])]
    with children.running(command, name=name, log=log, is_ready=(ports.HOST, port)) as child:
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)


@pytest.fixture
@boots("a Redis server")
def primary(tmp_path, settings, monkeypatch):
    """The primary of a pair under three Sentinels, which the shop uses in this test."""
    first, second, *sentinels = (ports.free() for _ in range(5))
    # Of its own, because django-redis keeps a pool for each name.
    name = f"primary-{first}"
    secrets = [f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", 'save ""']
    watch = [
        f"sentinel monitor {name} {ports.HOST} {first} 2",
        f"sentinel auth-pass {name} {PASSWORD}",
        f"sentinel down-after-milliseconds {name} 500",
        f"sentinel failover-timeout {name} 2000",
        f"requirepass {SENTINEL_PASSWORD}",
        f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
    ]
    with ExitStack() as started:
        child = started.enter_context(server(tmp_path, "first", first, *secrets))
        started.enter_context(server(tmp_path, "second", second, *secrets, f"replicaof {ports.HOST} {first}"))
        for number, port in enumerate(sentinels):
            started.enter_context(server(tmp_path, f"sentinel-{number}", port, *watch, mode="--sentinel"))
        wait_until(lambda: all(knows_the_others(port, name) for port in sentinels), seconds=30)
        hosts = ",".join(f"{ports.HOST}:{port}" for port in sentinels)
        url = f"redis+sentinel://:{PASSWORD}@{hosts}/{name}/0?sentinel_password={SENTINEL_PASSWORD}"
        monkeypatch.setenv("REDIS_URL", url)
        settings.CACHES = {"default": configuration.redis_cache("REDIS_URL")}
        redis_client.reset()
        yield child
    redis_client.reset()


def knows_the_others(port: int, name: str) -> bool:
    with Redis(ports.HOST, port, password=SENTINEL_PASSWORD) as client:
        state = client.sentinel_masters()[name]
        return state["num-slaves"] == 1 and state["num-other-sentinels"] == 2


def writes() -> bool:
    try:
        return bool(redis_client.client().set("key", "value"))
    except RedisError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_replica_is_written_to_once_the_primary_is_gone_and_no_demoted_one_after_it(primary, number):
    assert writes()
    client = redis_client.client()
    before = client.connection_pool.master_address
    primary.send_signal(number)
    wait_until(writes, seconds=30)
    address = redis_client.client().connection_pool.master_address
    assert address != before
    assert redis_client.client().info("replication")["role"] == "master"
    if number == signal.SIGSTOP:
        primary.send_signal(signal.SIGCONT)
        wait_until(lambda: redis_client.client().info("replication")["connected_slaves"] == 1, seconds=30)
        assert writes()
        assert redis_client.client().connection_pool.master_address == address
