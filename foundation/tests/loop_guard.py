"""A fixture that records calls which block an event loop's thread."""

import asyncio
import time
import traceback

import django.utils.asyncio
import pytest

from foundation.redis import redis_client


class Blocked(list[str]):
    """The stacks of calls that blocked an event loop, or would have."""


@pytest.fixture
def blocked(monkeypatch):
    """Records every access to the database or Redis, and every sleep, on a loop's thread.

    Accesses to the database and Redis also raise, but the calling code may hide that.
    """
    found = Blocked()
    monkeypatch.setattr(django.utils.asyncio, "get_running_loop", _recording(asyncio.get_running_loop, found))
    monkeypatch.setattr(redis_client, "running_loop", _recording(redis_client.running_loop, found))
    sleep = time.sleep

    def recording_sleep(seconds):
        if asyncio._get_running_loop():
            found.append(_stack())
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", recording_sleep)
    return found


def _recording(find_loop, found):
    def recording():
        loop = find_loop()
        if loop is not None:
            found.append(_stack())
        return loop

    return recording


def _stack():
    return "".join(traceback.format_stack(limit=12)[:-2])
