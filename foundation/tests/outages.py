"""Outages for tests: a Redis that can be stopped, and a database whose port refuses connections."""

from collections.abc import Mapping
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import pytest
from django.db import connection, connections

from foundation.observability import gauges
from foundation.redis import redis_client
from foundation.tests import process_state
from scripts.stack import children, ports, system_packages
from scripts.tests.circles import boots


def nowhere(scheme="http") -> str:
    """An address where nothing answers."""
    return f"{scheme}://{ports.HOST}:{ports.free()}"


class OwnRedis:
    """The test's own redis-server, which keeps its port over restarts and persists nothing."""

    def __init__(self, folder):
        self.port = ports.free()
        self.url = f"redis://{ports.HOST}:{self.port}/0"
        self._folder = folder
        self._log = folder / "redis.log"
        self._child: Popen[bytes] | None = None

    def start(self):
        command = [system_packages.program("redis-server"), "--bind", ports.HOST, "--port", str(self.port)]
        command += ["--save", "", "--dir", str(self._folder)]
        self._child, there = children.start(command, log=self._log), (ports.HOST, self.port)
        children.wait_until(there, name="redis", child=self._child, log=self._log, within_seconds=20)

    def kill(self):
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child = None

    def stop(self):
        if self._child:
            children.stop(self._child)
            self._child = None


@contextmanager
def database_away():
    """New connections of this process go to a port that refuses them; this thread's connection is closed."""
    with connecting_to(HOST=ports.HOST, PORT=str(ports.free())):
        yield


@contextmanager
def connecting_to(*, options: Mapping[str, Any] | None = None, **address: str):
    """New connections of this process to the database go to this address, by a Unix socket only with such an
    option; this thread's connection is closed."""
    settings = connection.settings_dict
    original = {name: settings[name] for name in (*address, "OPTIONS")}
    kept = {name: value for name, value in original["OPTIONS"].items() if name != "unix_socket"}

    def reconnect(changed):
        connections.close_all()
        settings.update(changed)
        process_state.renew_threads()
        gauges._cached.clear()

    reconnect(address | {"OPTIONS": kept | dict(options or {})})
    try:
        yield
    finally:
        reconnect(original)


@pytest.fixture
@boots("a Redis server", in_first_circle=True)
def own_redis(settings, tmp_path):
    """A running Redis that the shop uses in this test, and that the test can stop and start."""
    server = OwnRedis(tmp_path)
    server.start()
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": server.url}}
    redis_client.reset()
    yield server
    server.stop()
