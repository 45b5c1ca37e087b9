"""Fixtures of the tests of sales."""

import time
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest

from foundation import clock
from sales.waiting_room import room_view


@pytest.fixture
def passing(monkeypatch):
    """Stops the memory's time and the clock, and lets it be so many seconds later: `with passing(2.5):`."""
    passed = 0.0
    began_at, ticks = clock.now(), time.monotonic()
    monkeypatch.setattr(room_view, "time", SimpleNamespace(monotonic=lambda: ticks + passed))
    for name in ("now", "read_database"):
        monkeypatch.setattr(clock, name, lambda: began_at + timedelta(seconds=passed))

    @contextmanager
    def passing(seconds):
        nonlocal passed
        before, passed = passed, seconds
        yield
        passed = before

    return passing
