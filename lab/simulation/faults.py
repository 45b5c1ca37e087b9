"""Faults inside a process: it is killed at any statement or call of Redis, or a COMMIT's answer is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection

from lab.simulation import planted
from lab.simulation.determinism import chance
from lab.simulation.world import Crash

SHARE_OF_CRASHES, SHARE_OF_LOST_COMMITS = 0.03, 0.02
LONGEST_LIFE = 40
"""A process that is killed by chance is so after as many statements at most."""
SERVER_LOST = 2013
_left: int | None = None
"""After so many statements and calls of Redis the present process is killed; None for one that isn't."""


@contextmanager
def by_chance() -> Iterator[None]:
    """Inside the block the process may be killed at a statement, and a COMMIT's answer be lost."""
    drawn = chance.random.random()
    if drawn < SHARE_OF_CRASHES:
        with _killed_after(chance.random.randint(1, LONGEST_LIFE)):
            yield
    elif drawn < SHARE_OF_CRASHES + SHARE_OF_LOST_COMMITS:
        with _losing_answer_to_commit(is_done=chance.random.random() < 0.5):
            yield
    else:
        yield


def count_call() -> None:
    """Count a statement or a call of Redis; the process may be killed at it."""
    global _left
    if _left is not None:
        _left -= 1
        if _left == 0:
            raise Crash


@contextmanager
def suspended() -> Iterator[None]:
    """Inside the block another process runs, which has faults of its own."""
    global _left
    left, _left = _left, None
    wrappers, connection.execute_wrappers = connection.execute_wrappers, []
    commit = connection.__dict__.pop("commit", None)
    try:
        yield
    finally:
        _left, connection.execute_wrappers = left, wrappers
        if commit:
            connection.commit = commit  # type: ignore[method-assign]


@contextmanager
def _killed_after(life: int) -> Iterator[None]:
    global _left
    _left = life
    try:
        with connection.execute_wrapper(_counted):
            yield
    finally:
        _left = None


def _counted(run: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    count_call()
    return run(sql, params, many, context)


@contextmanager
def _losing_answer_to_commit(*, is_done: bool) -> Iterator[None]:
    """The first COMMIT is done or not, and the client learns neither."""
    usual = connection.commit

    def commit() -> None:
        connection.commit = usual  # type: ignore[method-assign]
        if is_done:
            usual()
        elif planted.is_early:
            connection.rollback()
            return
        raise OperationalError(SERVER_LOST, "Lost connection to server during query")

    connection.commit = commit  # type: ignore[method-assign]
    try:
        yield
    finally:
        connection.commit = usual  # type: ignore[method-assign]
