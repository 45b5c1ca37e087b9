"""Time for tests: a clock shifted by a distance, and work that waits for a lock.

Such work is started in a thread, and observed while it waits.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.models import Model

from foundation import clock
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import another_connection, ask, holding_row


def shifted(**distance: float) -> AbstractContextManager[None]:
    """While this is open, the clock is shifted by so much: `with shifted(minutes=-15):`."""
    return clock.shifted(by=timedelta(**distance))


@contextmanager
def within(seconds: float):
    """Fails the test if the block takes so many seconds or more."""
    began_at = time.monotonic()
    yield
    assert time.monotonic() - began_at < seconds


def in_background(work: Callable[[], Any]) -> "Future[Any]":
    """The future result of work in a thread of its own, which closes its connections."""

    def run():
        try:
            return work()
        finally:
            connections.close_all()

    pool = ThreadPoolExecutor(max_workers=1)
    future = pool.submit(run)
    pool.shutdown(wait=False)
    return future


def waiting_at(statement: str) -> int:
    """The number of running statements like this one; while their row is locked, they wait for the lock."""
    with another_connection() as other:
        [[waiting]] = ask(
            other,
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()"
            " AND id <> CONNECTION_ID() AND command = 'Query' AND info LIKE %s",
            statement,
        )
    return int(waiting)


def waiting_for_the_row(model: type[Model]) -> int:
    """How many statements lock rows of the model: while a test keeps the row locked, they wait for that.

    A read without a lock isn't counted: it runs for a moment too, and before the row is waited for.
    """
    table = model._meta.db_table
    return waiting_at(f"%{table}%FOR UPDATE%") + waiting_at(f"UPDATE%{table}%SET%")


def behind_a_pause(
    pause: Callable[[], Any], row: Model, works: list[Callable[[], Any]], *, waiting=1
) -> list[Any]:
    """What these works return or raise that are begun while a pause waits for the row, before it commits.

    So many of them wait for the row as well before the pause gets it.
    """
    with holding_row(row) as keeper:
        paused = in_background(pause)
        wait_until(lambda: waiting_for_the_row(type(row)) == 1)
        begun = [in_background(work) for work in works]
        wait_until(lambda: waiting_for_the_row(type(row)) > waiting)
        keeper.rollback()
        assert paused.result(30).paused_at
        return [one.exception(60) or one.result() for one in begun]
