"""Transactions that are tried again when the database says "not your fault, once more".

Retries happen at the outermost transaction only: after 1213 and 1020 the server has rolled all of it
back, savepoints included (MDEV-35235).
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import Error as DatabaseFailure
from django.db import InterfaceError, OperationalError, connection, transaction
from structlog import get_logger

from shop.errors import Unavailable


class DatabaseAway(Unavailable):
    """The database can't be reached: nobody's request can be decided."""


class TooManyConflicts(Unavailable):
    """The database rolled the work back each time it was tried: nothing was done."""


class LockWaitTimeout(TooManyConflicts):
    """Another transaction kept a row that the work needs locked for the whole lock wait: nothing was done."""


class ChangedMeanwhile(RuntimeError):
    """What was read without a lock is not what stands there now: nothing was written, begin again."""


T = TypeVar("T")
log = get_logger(__name__)

DEADLOCK, LOCK_WAIT, CHANGED_SINCE_READ = 1213, 1205, 1020
CONFLICTS = {DEADLOCK, LOCK_WAIT, CHANGED_SINCE_READ}
SQLITE_LOCKED = ("database is locked",)
# Lost or refused connections: gone away, lost during query, extended loss, refused on socket and TCP,
# shutdown in progress, killed, too many connections.
LOST = {2006, 2013, 2055, 2002, 2003, 1053, 1927, 1040, 4031}
ATTEMPTS = 4
BACKOFF_SECONDS = 0.05
# Past these no further attempt starts. A lock that somebody keeps is waited for twice (5 s each) rather
# than four times; a database that lets a connection wait (2 s each) is told to be away, not waited for.
CONFLICT_BUDGET_SECONDS = 6.0
LOST_BUDGET_SECONDS = 1.5
# Less than one lock wait: for a batch, which goes on without the requests that need the locked row.
BATCH_CONFLICT_BUDGET_SECONDS = 4.0

CONFLICTING = "Too many others change the same rows; nothing was done."

Gathered = dict[Callable[[Sequence[Any]], None], list[Any]]


class _Open(threading.local):
    """What the transaction that `run` has open in this thread is to write before it commits."""

    gathered: Gathered | None = None


_open = _Open()


def is_conflict(error: BaseException) -> bool:
    """Whether the database rolled the work back because of other work: try again."""
    return isinstance(error, OperationalError) and (
        _number(error) in CONFLICTS or error.args == SQLITE_LOCKED
    )


def is_lost(error: BaseException) -> bool:
    """Whether the connection went away, or could not be had."""
    return isinstance(error, InterfaceError) or (
        isinstance(error, OperationalError)
        and (_number(error) in LOST or error.args == ("unable to open database file",))
    )


def run(work: Callable[[], T], *, attempts: int = ATTEMPTS, is_batch: bool = False) -> T:
    """Run `work` in one transaction, durable when this returns, and return its result.

    Conflicts and lost connections are retried with full jitter, so `work` must be safe to repeat: a
    connection lost during COMMIT, or what goes with it, may have committed, or may yet. Inside somebody's
    transaction it runs once, as a savepoint of it. A batch sits through one lock wait at most. Raises
    `DatabaseAway` when the database stays away, `LockWaitTimeout` when a row stays locked, and
    `TooManyConflicts` when other conflicts don't end.
    """
    if connection.in_atomic_block:
        with savepoint() if _open.gathered is not None else _atomic():
            return work()
    return _tried(_in_transaction, work, attempts, is_batch=is_batch)


def run_batch(work: Callable[[], T]) -> T:
    """`run` for the work of many requests at once."""
    return run(work, is_batch=True)


def read(work: Callable[[], T]) -> T:
    """Run `work`, which only reads, without a transaction of its own: each of its statements is one instant.

    Lost connections are retried as by `run`. Raises `Unavailable` when the database stays away.
    """
    return work() if connection.in_atomic_block else _tried(as_it_is, work)


def as_it_is(work: Callable[[], T]) -> T:
    """Run `work` without a transaction of this module's: for work that opens its own, or needs none."""
    return work()


def _in_transaction(work: Callable[[], T]) -> T:
    with _atomic():
        return work()


def _tried(
    attempt_at: Callable[[Callable[[], T]], T],
    work: Callable[[], T],
    attempts: int = ATTEMPTS,
    *,
    is_batch: bool = False,
) -> T:
    """The work's result, from the first attempt that the database doesn't turn away."""
    started_at = time.monotonic()
    for attempt in range(1, attempts + 1):
        try:
            return attempt_at(work)
        except DatabaseFailure as error:
            elapsed = time.monotonic() - started_at
            _give_up_or_prepare(error, elapsed=elapsed, is_last=attempt == attempts, is_batch=is_batch)
            time.sleep(random.uniform(0, BACKOFF_SECONDS * 2**attempt))
    raise AssertionError("the last attempt returns or raises")


def gather(write: Callable[[Sequence[T]], None], item: T) -> None:
    """Have `item` written just before the transaction commits, by one call of `write` for all of them.

    In a transaction that `run` hasn't opened it is written at once.
    """
    gather_all(write, (item,))


def gather_all(write: Callable[[Sequence[T]], None], items: Iterable[T]) -> None:
    """The same for several items."""
    assert_inside()
    if _open.gathered is not None:
        _open.gathered.setdefault(write, []).extend(items)
    elif some := list(items):
        write(some)


@contextmanager
def savepoint() -> Iterator[None]:
    """A part of the transaction that may fail alone: what it wrote and what it gathered is undone."""
    lengths = {write: len(items) for write, items in (_open.gathered or {}).items()}
    try:
        with transaction.atomic():
            yield
    except BaseException:
        for write, items in (_open.gathered or {}).items():
            del items[lengths.get(write, 0) :]
        raise


def assert_inside() -> None:
    """Raise unless the caller has opened a transaction: what follows is only a part of one."""
    if _open.gathered is None and not connection.in_atomic_block:
        raise transaction.TransactionManagementError("This belongs into a transaction of the caller's.")


def assert_outside() -> None:
    """Raise inside a transaction: nothing that waits for a network may hold locks meanwhile.

    The transaction that Django's `TestCase` wraps around a test doesn't count.
    """
    if not all(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        raise transaction.TransactionManagementError("No network inside a transaction.")


@contextmanager
def _atomic() -> Iterator[None]:
    """A transaction that writes what was gathered once the work is done."""
    with transaction.atomic():
        _open.gathered = {}
        try:
            yield
            for write, items in _open.gathered.items():
                if items:
                    write(items)
        finally:
            _open.gathered = None


def _give_up_or_prepare(error: DatabaseFailure, *, elapsed: float, is_last: bool, is_batch: bool) -> None:
    """Raise what can't be retried; drop a connection that died, so that the next attempt opens one."""
    if is_lost(error):
        connection.close()
        if is_last or elapsed > LOST_BUDGET_SECONDS:
            raise DatabaseAway("The database can't be reached; ask again.") from error
    elif not is_conflict(error):
        raise error
    elif is_last or elapsed > (BATCH_CONFLICT_BUDGET_SECONDS if is_batch else CONFLICT_BUDGET_SECONDS):
        raise _conflict(error) from error
    log.info("transaction retried", error=str(error)[:200])


def _conflict(error: DatabaseFailure) -> TooManyConflicts:
    is_lock_wait = _number(error) == LOCK_WAIT or error.args == SQLITE_LOCKED
    return (LockWaitTimeout if is_lock_wait else TooManyConflicts)(CONFLICTING)


def _number(error: BaseException) -> int | None:
    return error.args[0] if error.args and isinstance(error.args[0], int) else None
