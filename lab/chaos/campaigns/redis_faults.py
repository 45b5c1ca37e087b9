"""Faults of Redis: no memory left for writes, and data of an earlier time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from scripts.stack import supervision
from scripts.stack.instance import Instance

LEAST_MEMORY = "1"
"""A byte: the server itself needs more."""
KEPT = "redis-kept.aof"


@contextmanager
def out_of_memory(_: str, instance: Instance) -> Iterator[None]:
    """Inside the block Redis refuses every write that needs memory, and goes on to be read."""
    with Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        redis.config_set("maxmemory", LEAST_MEMORY)
        try:
            yield
        finally:
            redis.config_set("maxmemory", "0")


def keep_data(instance: Instance) -> None:
    """Keep what Redis has now, for `old_data`."""
    _copy(_data(instance), instance.data / KEPT)


@contextmanager
def old_data(name: str, instance: Instance) -> Iterator[None]:
    """Inside the block Redis is down; after it, it has what it had at `keep_data`."""
    supervision.stop(instance, name)
    try:
        yield
    finally:
        _copy(instance.data / KEPT, _data(instance))
        supervision.start(instance, [name])


def _data(instance: Instance) -> Path:
    """A folder since Redis 7, a file before."""
    folder = instance.data / "appendonlydir"
    return folder if folder.exists() else instance.data / "redis.aof"


def _copy(source: Path, target: Path) -> None:
    """Copy what Redis has, in the place of what is there."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
