"""Faults of a real Redis, and what is left of them afterwards."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from scripts.chaos import faults
from scripts.chaos.campaigns import redis_faults
from scripts.chaos.faults import Fault
from scripts.stack import children, ports, processes, supervision
from scripts.stack.instance import Instance

pytestmark = pytest.mark.boots("a Redis server")


class Server:
    """A stack's Redis, which its only process is."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.redis = Redis(unix_socket_path=str(instance.redis_socket), decode_responses=True)
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.instance.logs / "redis.log"
        self.child = children.start(
            processes.command("redis", self.instance, {}), log=log, environment=os.environ
        )
        socket = str(self.instance.redis_socket)
        children.wait_until(
            lambda: ports.answers(socket), name="redis", child=self.child, log=log, within_seconds=30
        )

    def stop(self) -> None:
        if self.child:
            children.stop(self.child)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    instance = Instance(home=tmp_path, port=ports.free(4), database="mariadb")
    for folder in (instance.run, instance.logs, instance.data):
        folder.mkdir(parents=True)
    server = Server(instance)
    server.start()
    monkeypatch.setattr(supervision, "stop", lambda *_: server.stop())
    monkeypatch.setattr(supervision, "start", lambda *_: server.start())
    yield server
    server.stop()


def test_without_memory_redis_is_read_and_refuses_writes(server: Server) -> None:
    server.redis.set("name", "before")
    with faults.lasting(Fault("no memory for", "redis", 1), server.instance):
        assert server.redis.get("name") == "before"
        with pytest.raises(OutOfMemoryError):
            server.redis.set("name", "meanwhile")
    server.redis.set("name", "after")
    assert server.redis.get("name") == "after"


def test_redis_comes_back_with_what_it_had_when_it_was_kept(server: Server) -> None:
    server.redis.set("name", "kept")
    redis_faults.keep_data(server.instance)
    server.redis.set("name", "later")
    server.redis.set("other", "later")
    with faults.lasting(Fault("old data for", "redis", 1), server.instance):
        pass
    assert (server.redis.get("name"), server.redis.get("other")) == ("kept", None)
