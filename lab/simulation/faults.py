"""Faults inside a process: it is killed at any statement or call of Redis, or a COMMIT's answer is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection

from lab.simulation.chance import chance

SHARE_OF_CRASHES, SHARE_OF_LOST_COMMITS = 0.03, 0.02
LONGEST_LIFE = 40
"""A process that is killed by chance is so after as many statements at most."""
SERVER_LOST = 2013
_left: int | None = None
"""After so many statements and calls of Redis the present process is killed; None for one that isn't."""
_lost = ""
"""What of its next COMMIT is lost: the request, or the reply, if anything."""


class Crash(BaseException):
    """The present process is killed: no code handles it, and its transaction is rolled back."""


def install() -> None:
    """Count every statement of this program, and have COMMITs be lost."""
    usual = connection.commit

    def commit() -> None:
        global _lost
        lost, _lost = _lost, ""
        if lost == "request":
            connection.rollback()
        else:
            usual()
        if lost:
            say_lost(lost)

    def counted(run: Callable[..., Any], *of: Any) -> Any:
        count_call()
        return run(*of)

    connection.commit = commit  # type: ignore[method-assign]
    connection.execute_wrappers.append(counted)


def say_lost(what: str) -> None:
    """What the client of a lost COMMIT learns: not whether it was done."""
    raise OperationalError(SERVER_LOST, "Lost connection to server during query")


@contextmanager
def by_chance() -> Iterator[None]:
    """Inside the block the process may be killed at a statement, and a COMMIT's answer be lost."""
    global _left, _lost
    drawn = chance.draw()
    if drawn < SHARE_OF_CRASHES:
        _left = chance.randint(1, LONGEST_LIFE)
    elif drawn < SHARE_OF_CRASHES + SHARE_OF_LOST_COMMITS:
        _lost = "reply" if chance.random() < 0.5 else "request"
    try:
        yield
    finally:
        _left, _lost = None, ""


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
    global _left, _lost
    before, _left, _lost = (_left, _lost), None, ""
    try:
        yield
    finally:
        _left, _lost = before
