"""Faults inside a process: it is killed at any statement, and the answer to a COMMIT is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection

from scripts.simulation import planted
from scripts.simulation.determinism import chance
from scripts.simulation.world import Crash

SHARE_OF_CRASHES, SHARE_OF_LOST_COMMITS = 0.03, 0.02
LONGEST_LIFE = 40
"""A process that is killed by chance is so after as many statements at most."""
SERVER_LOST = 2013


@contextmanager
def by_chance() -> Iterator[None]:
    """Inside the block the process may be killed at a statement, and a COMMIT's answer be lost."""
    drawn = chance.random.random()
    if drawn < SHARE_OF_CRASHES:
        with connection.execute_wrapper(_killer(chance.random.randint(1, LONGEST_LIFE))):
            yield
    elif drawn < SHARE_OF_CRASHES + SHARE_OF_LOST_COMMITS:
        with _losing_answer_to_commit(is_done=chance.random.random() < 0.5):
            yield
    else:
        yield


def _killer(life: int) -> Callable[..., Any]:
    left = life

    def execute(run: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash
        return run(sql, params, many, context)

    return execute


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
