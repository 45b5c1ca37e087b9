"""Runs a coroutine of an API call in a thread that has no event loop: each of its waits blocks the thread."""

from collections.abc import Coroutine
from typing import Any, TypeVar

Outcome = TypeVar("Outcome")


def run(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run the coroutine, blocking this thread in each of its waits. Not for a thread with an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome
    coroutine.close()
    raise RuntimeError("The coroutine waits for an event loop: use the waits of shop.concurrency.event_loop.")
