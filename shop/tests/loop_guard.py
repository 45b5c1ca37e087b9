"""What must not happen on an event loop's thread, noted where it does."""

import asyncio
import time
import traceback
from typing import Any

import django.utils.asyncio
import pytest

from shop.redis import redis_client


class Blocked(list[str]):
    """Where something blocked an event loop, or would have."""


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Blocked:
    """Every access to the database or Redis, and every sleep, on a loop's thread.

    The first two fail as well, which the code that asks may hide.
    """
    found = Blocked()
    monkeypatch.setattr(django.utils.asyncio, "get_running_loop", _noting(asyncio.get_running_loop, found))
    monkeypatch.setattr(redis_client, "running_loop", _noting(redis_client.running_loop, found))
    sleep = time.sleep

    def sleep_elsewhere(seconds: float) -> None:
        if asyncio._get_running_loop():
            found.append(_place())
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", sleep_elsewhere)
    return found


def _noting(find_loop: Any, found: Blocked) -> Any:
    def noting() -> Any:
        loop = find_loop()
        if loop is not None:
            found.append(_place())
        return loop

    return noting


def _place() -> str:
    return "".join(traceback.format_stack(limit=12)[:-2])
