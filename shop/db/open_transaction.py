"""The transaction that is open in this thread: savepoints, rows that are written just before it commits, and
counts for metrics that are made once it has.

`shop.db.transactions` opens it and retries it; code that it runs calls this module.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from django.db import connection, transaction

from shop.db.commit_counts import Evidence, TransactionCounts
from shop.observability import tracing

T = TypeVar("T")
PendingWrites = dict[Callable[[Sequence[Any]], None], list[Any]]


class _State(threading.local):
    """What this thread's transaction, opened by `atomic`, writes before it commits and counts afterwards.

    `counts` are those of the last transaction, until the next one begins. `in_doubt` has the results of the
    attempts before this one whose COMMIT got no reply.
    """

    pending_writes: PendingWrites | None = None
    counts: TransactionCounts | None = None
    in_doubt: Sequence[Any] = ()
    is_at_commit = False
    is_forbidden = False


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


def count_after_commit(count: Callable[[Sequence[T]], None], items: Iterable[T]) -> None:
    """Have `count` called with these items once the transaction has committed, also if the reply is lost.

    One call gets all items of the transaction. `count` must be quick and make no query: what takes longer it
    hands on. A lost COMMIT is found by the transaction's evidence.
    """
    assert_inside()
    if state.pending_writes is not None and state.counts is not None:
        state.counts.add(count, items)
    elif some := list(items):
        # Not `partial`: Django names the function in its log when that raises, and a partial has no name.
        transaction.on_commit(lambda: count(some), robust=True)


def set_evidence(evidence: Evidence) -> None:
    """Say how to find out whether this transaction has committed: by a row that it alone has written."""
    if state.pending_writes is not None and state.counts is not None:
        state.counts.evidence = evidence


@contextmanager
def savepoint() -> Iterator[None]:
    """A part of the transaction that may fail by itself: its writes and its queued items are undone."""
    lengths = {write: len(items) for write, items in (state.pending_writes or {}).items()}
    counted = state.counts.lengths() if state.counts else {}
    try:
        with transaction.atomic():
            yield
    except BaseException:
        for write, items in (state.pending_writes or {}).items():
            del items[lengths.get(write, 0) :]
        if state.counts:
            state.counts.truncate(counted)
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
def forbidden() -> Iterator[None]:
    """Forbid transactions in this thread until the block ends, because what it reads must decide nothing."""
    before, state.is_forbidden = state.is_forbidden, True
    try:
        yield
    finally:
        state.is_forbidden = before


@contextmanager
def atomic() -> Iterator[None]:
    """A transaction that writes the queued items at its end."""
    if state.is_forbidden:
        raise transaction.TransactionManagementError("No transaction while a secondary is read.")
    with ExitStack() as commit, transaction.atomic():
        state.pending_writes, state.counts = {}, TransactionCounts()
        try:
            yield
            for write, items in state.pending_writes.items():
                if items:
                    write(items)
            if state.counts.items:
                transaction.on_commit(state.counts.make)
            state.is_at_commit = True
            # Its span begins before the statement, and ends after it, outside of the transaction.
            attributes = {"db.system.name": connection.vendor, "db.operation.name": "COMMIT"}
            commit.enter_context(tracing.span("COMMIT", attributes, kind="client"))
        finally:
            state.pending_writes = None
