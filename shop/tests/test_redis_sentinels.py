"""Redis behind Sentinels: the shop's client finds the primary, and the next one after a failover."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import Popen

import pytest
from django.conf import LazySettings
from redis import Redis
from redis.exceptions import RedisError

from scripts.stack import children, ports, system_packages
from shop import configuration
from shop.redis import redis_client
from shop.tests.racing import wait_until

pytestmark = [pytest.mark.boots("a Redis server")]

PASSWORD = "of-the-servers"
SENTINEL_PASSWORD = "of-the-sentinels"


@contextmanager
def server(folder: Path, name: str, port: int, *lines: str, mode: str = "") -> Iterator["Popen[bytes]"]:
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
def primary(
    tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator["Popen[bytes]"]:
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
        settings.CACHES = {"default": configuration.redis_cache("REDIS_URL", "")}
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
def test_the_replica_is_written_to_once_the_primary_is_gone(
    primary: "Popen[bytes]", number: signal.Signals
) -> None:
    assert writes()
    client = redis_client.client()
    before = client.connection_pool.master_address
    primary.send_signal(number)
    wait_until(writes, seconds=30)
    assert redis_client.client().connection_pool.master_address != before
    assert redis_client.client().info("replication")["role"] == "master"


def test_a_demoted_primary_is_written_to_no_more(primary: "Popen[bytes]") -> None:
    assert writes()
    primary.send_signal(signal.SIGSTOP)
    wait_until(writes, seconds=30)
    address = redis_client.client().connection_pool.master_address
    primary.send_signal(signal.SIGCONT)
    wait_until(lambda: redis_client.client().info("replication")["connected_slaves"] == 1, seconds=30)
    assert writes()
    assert redis_client.client().connection_pool.master_address == address
