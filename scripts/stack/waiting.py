"""Waiting for what can only be asked for again and again."""

import time
from collections.abc import Callable
from typing import TypeVar

from scripts.stack import SetupError

T = TypeVar("T")


def until(
    look: Callable[[], T | None], otherwise: str, *, within_seconds: float, pause_seconds: float = 0.1
) -> T:
    """What is found, once it is there. Raises SetupError with these words when it isn't in time."""
    deadline = time.monotonic() + within_seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise SetupError(otherwise)
        time.sleep(pause_seconds)
    return found


def left(look: Callable[[], T], *, within_seconds: float, pause_seconds: float = 0.1) -> T:
    """What is still found when the time is over; nothing, as soon as nothing is found."""
    deadline = time.monotonic() + within_seconds
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(pause_seconds)
    return found
