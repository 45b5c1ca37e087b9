"""Races for tests: real threads that start at one barrier, each on its own database connection."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.db import connections

# Longer than a batcher's wait and a transaction's retries together, so that only a hang exceeds it.
TIMEOUT_SECONDS = 60.0


def race(functions: Sequence[Callable[[], Any]], *, timeout: float = TIMEOUT_SECONDS) -> list[Any]:
    """Call all functions at the same moment, and return what each returned or raised, in their order.

    A thread that isn't back within `timeout` seconds fails the test. The test needs
    `django_db(transaction=True)`: the threads see what is committed, and nothing else.
    """
    outcomes: list[Any] = [None] * len(functions)
    barrier = threading.Barrier(len(functions), timeout=timeout)

    def run(index, function):
        try:
            barrier.wait()
            outcomes[index] = function()
        except BaseException as error:
            outcomes[index] = error
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=run, args=(index, function), name=f"racer-{index}", daemon=True)
        for index, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    missing = [thread.name for thread in threads if thread.is_alive()]
    assert not missing, f"threads that never ended: {', '.join(missing)}"
    return outcomes


def race_each(function: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
    """Call the function with each of these at the same moment, as `race` does."""
    return race([partial(function, one) for one in given])


def wait_until(condition: Callable[[], bool], *, seconds=10.0):
    """Return once `condition()` holds; fail the test after the deadline."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.005)
