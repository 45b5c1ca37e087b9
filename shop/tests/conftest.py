"""What the tests of the edge share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from shop import redis
from shop.tests.outages import OwnRedis


@pytest.fixture
def own_redis(settings: LazySettings, tmp_path: Path) -> Iterator[OwnRedis]:
    """A running Redis that the shop uses in this test, to be stopped and started at will."""
    server = OwnRedis(tmp_path)
    server.start()
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": server.url}}
    redis.reset()
    yield server
    server.stop()
