"""This thread's open transaction: savepoints, rows that are written just before it commits, and what is
called once it has. `foundation.db.transactions` opens and retries it; code that it runs calls this module.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import connection, transaction

from foundation.observability import tracing

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class OpenTransaction:
    """A transaction that `atomic` opened; `writes` has the items for each function that writes them, `undo`
    what is called if it fails.
    """

    writes: dict[Callable[[Sequence[Any]], None], list[Any]] = field(default_factory=dict)
    undo: ExitStack = field(default_factory=ExitStack)
    is_at_commit: bool = False


class _State(threading.local):
    """`in_doubt` has the results of earlier attempts whose COMMIT got no reply. Locks of stock are waited for
    during `patience_seconds`; None is the usual lock wait.
    """

    current: OpenTransaction | None = None
    in_doubt: Sequence[Any] = ()
    is_forbidden = False
    patience_seconds: float | None = None


state = _State()


def write_before_commit(write: Callable[[Sequence[T]], None], items: Iterable[T]) -> None:
    """Queue items to be written just before the transaction commits: one call of `write` gets all of them.

    In a transaction that `atomic` didn't open they are written at once.
    """
    assert_inside()
    if state.current:
        state.current.writes.setdefault(write, []).extend(items)
    elif some := list(items):
        write(some)


def count_after_commit(count: Callable[[Sequence[T]], None], items: Iterable[T]) -> None:
    """Have `count` called with the items after the transaction's commit; it must make no query.

    It is not called where the reply to the COMMIT is lost, and an error of it is logged.
    """
    assert_inside()
    if some := list(items):
        # Not `partial`: Django names the function in its log when that raises, and a partial has no name.
        transaction.on_commit(lambda: count(some), robust=True)


def after_commit(call: Callable[[], object]) -> None:
    """Call it once the open transaction has committed; at once where none is open."""
    if is_open():
        transaction.on_commit(call)
    else:
        call()


def on_rollback(undo: Callable[[], object]) -> None:
    """Have `undo` called if the transaction fails, or the reply to its COMMIT is lost. It must make no query.

    It is not called in a transaction that `atomic` didn't open.
    """
    assert_inside()
    if state.current:
        state.current.undo.callback(undo)


@contextmanager
def savepoint() -> Iterator[None]:
    """A part of the transaction that may fail by itself: its writes and its queued items are undone."""
    writes = state.current.writes if state.current else {}
    before = {write: len(items) for write, items in writes.items()}
    try:
        with transaction.atomic():
            yield
    except BaseException:
        for write, items in writes.items():
            del items[before.get(write, 0) :]
        raise


def assert_inside() -> None:
    if state.current is None and not connection.in_atomic_block:
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
    before = state.is_forbidden
    state.is_forbidden = True
    try:
        yield
    finally:
        state.is_forbidden = before


@contextmanager
def atomic() -> Iterator[OpenTransaction]:
    if state.is_forbidden:
        raise transaction.TransactionManagementError("No transaction while a secondary is read.")
    this = OpenTransaction()
    with this.undo:
        with ExitStack() as commit, transaction.atomic():
            state.current = this
            try:
                yield this
                for write, items in this.writes.items():
                    if items:
                        write(items)
                this.is_at_commit = True
                # Its span begins before the statement, and ends after it, outside of the transaction.
                attributes = {"db.system.name": connection.vendor, "db.operation.name": "COMMIT"}
                commit.enter_context(tracing.span("COMMIT", attributes, kind="client"))
            finally:
                state.current = None
        this.undo.pop_all()
