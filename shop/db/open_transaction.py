"""The transaction that is open in this thread: savepoints, and rows that are written just before it commits.

`shop.db.transactions` opens it and retries it; code that it runs calls this module.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connection, transaction

T = TypeVar("T")
PendingWrites = dict[Callable[[Sequence[Any]], None], list[Any]]


class _State(threading.local):
    """What this thread's transaction, opened by `atomic`, writes just before it commits."""

    pending_writes: PendingWrites | None = None
    is_at_commit = False


state = _State()


def write_before_commit(write: Callable[[Sequence[T]], None], item: T) -> None:
    """Queue `item` to be written just before the transaction commits: one call of `write` gets all its items.

    In a transaction that `atomic` didn't open it is written at once.
    """
    write_all_before_commit(write, (item,))


def write_all_before_commit(write: Callable[[Sequence[T]], None], items: Iterable[T]) -> None:
    """`write_before_commit` for several items."""
    assert_inside()
    if state.pending_writes is not None:
        state.pending_writes.setdefault(write, []).extend(items)
    elif some := list(items):
        write(some)


@contextmanager
def savepoint() -> Iterator[None]:
    """A part of the transaction that may fail by itself: its writes and its queued items are undone."""
    lengths = {write: len(items) for write, items in (state.pending_writes or {}).items()}
    try:
        with transaction.atomic():
            yield
    except BaseException:
        for write, items in (state.pending_writes or {}).items():
            del items[lengths.get(write, 0) :]
        raise


def assert_inside() -> None:
    """Raise unless the caller has opened a transaction."""
    if state.pending_writes is None and not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Must be called inside a transaction.")


def assert_outside() -> None:
    """Raise inside a transaction: code that waits for a network must not hold locks."""
    if is_open():
        raise transaction.TransactionManagementError("No network calls inside a transaction.")


def is_open() -> bool:
    """Whether a transaction is open. The one that Django's `TestCase` wraps around a test doesn't count."""
    return connection.in_atomic_block and not all(
        getattr(block, "_from_testcase", False) for block in connection.atomic_blocks
    )


@contextmanager
def atomic() -> Iterator[None]:
    """A transaction that writes the queued items at its end."""
    with transaction.atomic():
        state.pending_writes = {}
        try:
            yield
            for write, items in state.pending_writes.items():
                if items:
                    write(items)
            state.is_at_commit = True
        finally:
            state.pending_writes = None
