"""Transactions that are retried after conflicts and lost connections.

Only the outermost transaction is retried: after errors 1213 and 1020 the server has rolled back all of it,
savepoints included (MDEV-35235). What code calls inside a transaction is in `foundation.db.open_transaction`.
"""

import random
import time
from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar

from django.db import (
    Error as DatabaseFailure,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from prometheus_client import Counter
from structlog import get_logger
from uuid_utils.compat import uuid7

from foundation.db import commit_marks, open_transaction
from foundation.db.mysql.patience import is_statement_ended
from foundation.db.open_transaction import OpenTransaction
from foundation.errors import Unavailable
from foundation.lazy_texts import Text, mark


class Effect(Enum):
    """What a second run of the same work does if the first one, whose reply was lost, has committed.

    `REPEATABLE` work leaves the same rows and returns the same result. `KEYED` work looks up what was done
    under a key that was generated before the transaction. `ONCE` is for all other work: `run` detects an
    attempt that has committed.
    """

    REPEATABLE = "repeatable"
    KEYED = "keyed"
    ONCE = "once"


REPEATABLE, KEYED, ONCE = Effect


class DatabaseUnavailable(Unavailable):
    """The database can't be reached, or has no space left."""


class OutcomeUnknown(Unavailable):
    """The reply to a COMMIT was lost, and it is unknown whether it committed."""


class TooManyConflicts(Unavailable):
    """The database rolled the work back at every attempt: nothing was done."""


class LockWaitTimeout(TooManyConflicts):
    """Another transaction held the lock of a row for longer than the lock wait: nothing was done."""


class StillLocked(LockWaitTimeout):
    """Another transaction held the lock for longer than `patience_seconds`: nothing was done."""


class ChangedMeanwhile(RuntimeError):
    """Rows changed after they were read without a lock: nothing was written, and the caller starts over."""


T = TypeVar("T")
log = get_logger(__name__)

DEADLOCK = 1213
LOCK_WAIT = 1205
CHANGED_SINCE_READ = 1020
# Two members of a cluster changed the same row; this one's transaction was rolled back at its COMMIT.
ROLLED_BACK_AT_COMMIT = 3101
CONFLICTS = {DEADLOCK, LOCK_WAIT, CHANGED_SINCE_READ, ROLLED_BACK_AT_COMMIT}
SQLITE_LOCKED = ("database is locked",)
# Lost or refused connections: gone away, lost during query, extended loss, refused on socket and TCP, a host
# whose name is not known, as a container's that is down (2005), shutdown in progress, killed, too many
# connections; packets that could not be read or written; half a greeting (2027), which MySQL Router passes on
# when its server dies during it.
CONNECTION_LOST = {2006, 2013, 2027, 2055, 2002, 2003, 2005, 1053, 1927, 1040, 4031, 1158, 1159, 1160, 1161}
# Errors of a cluster's server that is no longer the primary, or not yet: read-only (1290, 1836), offline
# (3032), a hook that failed (3100), the session killed (3169), and Group Replication's own; of Galera, a
# member outside of the primary component (1047), and a COMMIT that failed because it had just lost the
# others (1180). The next connection leads to the primary.
NOT_PRIMARY = {1047, 1180, 1290, 1836, 3032, 3100, 3169, 3781, 3782, 3783, 4094}
# A table that can't grow (1114), a disk without space (1021), a file that can't be written (1026), and errors
# that name the cause in their text alone. The server rolls back the statement, and goes on.
FULL = {1021, 1026, 1114}
FULL_TEXTS = ("No space left on device", "database or disk is full")
# What a retry is counted as; a lost connection has no code of its own, and SQLite's lock is a wait.
CONNECTION = "connection"
REASONS = {
    DEADLOCK: "deadlock",
    LOCK_WAIT: "lock_wait",
    CHANGED_SINCE_READ: "changed",
    ROLLED_BACK_AT_COMMIT: "changed",
}
RETRIED = Counter(
    "firstcome_transactions_retried",
    "Attempts of transactions followed by another: deadlock, lock_wait, changed, connection.",
    ["reason"],
)
# All of them exist from the start: the event that begins a series is no increase of it.
_retries_by_reason = {reason: RETRIED.labels(reason) for reason in (CONNECTION, *REASONS.values())}
COMMITS_UNKNOWN = Counter("firstcome_commits_unknown", "Commits whose reply was lost.")
ATTEMPTS = 4
BACKOFF_SECONDS = 0.05
# No attempt starts after these. A lock that stays held is waited for twice (5 s each) rather than four times;
# a database whose connections time out (2 s each) is reported as unavailable after the first.
CONFLICT_BUDGET_SECONDS = 6.0
CONNECTION_LOST_BUDGET_SECONDS = 1.5
# Less than one lock wait: a batch continues without the requests that need the locked row.
BATCH_CONFLICT_BUDGET_SECONDS = 4.0
OUTCOME_UNKNOWN_DETAIL = mark("It is not known whether this was done; check, or retry with the same key.")

CONFLICT_DETAIL = mark("Too many other requests change the same rows; nothing was done.")


def is_conflict(error: BaseException) -> bool:
    """Whether the database rolled the work back because of a concurrent transaction: it can be retried."""
    return isinstance(error, OperationalError) and (
        _error_code(error) in CONFLICTS or error.args == SQLITE_LOCKED
    )


def is_lost(error: BaseException) -> bool:
    """Whether the connection was lost, could not be opened, or leads to a server that is not the primary."""
    return isinstance(error, InterfaceError) or (
        isinstance(error, OperationalError)
        and (
            _error_code(error) in CONNECTION_LOST | NOT_PRIMARY
            or error.args == ("unable to open database file",)
        )
    )


def is_full(error: BaseException) -> bool:
    """Whether the database has no space left for what was to be written: nothing was done."""
    return isinstance(error, DatabaseFailure) and (
        _error_code(error) in FULL or any(text in str(error) for text in FULL_TEXTS)
    )


def is_unavailable(error: BaseException) -> bool:
    return is_lost(error) or is_conflict(error) or is_full(error)


def is_lock_wait(error: BaseException) -> bool:
    return isinstance(error, OperationalError) and (
        _error_code(error) == LOCK_WAIT or error.args == SQLITE_LOCKED
    )


def run(work: Callable[[], T], effect: Effect, *, is_batch: bool = False) -> T:
    """Run `work` in one transaction, durable when this returns, and return its result.

    Conflicts and lost connections are retried with full jitter; a batch waits for at most one lock timeout.
    Raises `DatabaseUnavailable`, `LockWaitTimeout` when a row stays locked, `TooManyConflicts` when other
    conflicts don't end, and `OutcomeUnknown` instead of these two if a COMMIT may have succeeded. Inside
    another transaction it raises `TransactionManagementError`, because its result would not be durable.
    """
    if open_transaction.is_open():
        raise transaction.TransactionManagementError("A transaction is open: use `run_or_savepoint`.")
    if connection.in_atomic_block:
        # The transaction that Django's `TestCase` opened.
        with open_transaction.atomic():
            return work()
    return _Attempts(work, effect, is_batch=is_batch).first_success()


def run_batch(work: Callable[[], T]) -> T:
    """`run_or_savepoint` for a batch of requests, each of which looks up what it did before."""
    return run_or_savepoint(work, KEYED, is_batch=True)


def run_or_savepoint(work: Callable[[], T], effect: Effect, *, is_batch: bool = False) -> T:
    """`run` outside a transaction; inside one, run `work` once in a savepoint, durable when that commits."""
    if not open_transaction.is_open():
        return run(work, effect, is_batch=is_batch)
    with open_transaction.savepoint() if open_transaction.state.current else open_transaction.atomic():
        return work()


def read(work: Callable[[], T]) -> T:
    """Run `work`, which only reads, without a transaction: each statement sees the database as it is then.

    Lost connections are retried as by `run`. Raises `Unavailable` when the database stays unreachable.
    """
    return work() if connection.in_atomic_block else _Attempts(work).first_success()


class _Attempts(Generic[T]):
    """The attempts at one piece of work, up to the first that succeeds; with an effect in transactions."""

    def __init__(
        self, work: Callable[[], T], effect: Effect | None = None, *, is_batch: bool = False
    ) -> None:
        self._attempt = self._attempt_in_transaction if effect else work
        self._work = work
        self._conflict_budget_seconds = BATCH_CONFLICT_BUDGET_SECONDS if is_batch else CONFLICT_BUDGET_SECONDS
        self._mark = uuid7() if effect is ONCE else None
        # The results of attempts whose COMMIT got no reply, in order.
        self._in_doubt: list[T] = []

    def first_success(self) -> T:
        started_at = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt()
            except DatabaseFailure as error:
                elapsed = time.monotonic() - started_at
                self._give_up_or_prepare(error, elapsed=elapsed, is_last=attempt == ATTEMPTS)
                time.sleep(random.uniform(0, BACKOFF_SECONDS * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError("the last attempt returns or raises")

    def _attempt_in_transaction(self) -> T:
        results: list[T] = []
        this: OpenTransaction | None = None
        open_transaction.state.in_doubt = self._in_doubt
        try:
            with open_transaction.atomic() as this:
                if self._has_committed():
                    return self._in_doubt[-1]
                results.append(self._work())
        except DatabaseFailure as error:
            if this and this.is_at_commit and is_lost(error):
                self._in_doubt += results
                COMMITS_UNKNOWN.inc(len(results))
            raise
        finally:
            open_transaction.state.in_doubt = ()
        return results[0]

    def _has_committed(self) -> bool:
        """Whether an earlier attempt in doubt has committed; if not, write the mark of this attempt.

        All attempts insert the same row. So this insert waits for an attempt whose transaction is still open,
        and an attempt whose COMMIT arrives after it can no longer commit.
        """
        if self._mark is None:
            return False
        if not self._in_doubt:
            commit_marks.write(self._mark)
            return False
        try:
            with transaction.atomic():
                commit_marks.write_now(self._mark)
        except IntegrityError:
            return True
        return False

    def _give_up_or_prepare(self, error: DatabaseFailure, *, elapsed: float, is_last: bool) -> None:
        """Raise unless another attempt may follow; close a lost connection, so that it opens a new one."""
        is_impatient = open_transaction.state.patience_seconds and is_statement_ended(error)
        if is_lost(error):
            connection.close()
            if is_last or elapsed > CONNECTION_LOST_BUDGET_SECONDS:
                raise self._unavailable(mark("The database can't be reached; try again.")) from error
        elif is_full(error):
            raise self._unavailable(mark("The database has no space left; try again.")) from error
        elif not (is_conflict(error) or is_impatient):
            raise error
        elif is_impatient or is_last or elapsed > self._conflict_budget_seconds:
            if self._in_doubt:
                raise OutcomeUnknown(OUTCOME_UNKNOWN_DETAIL) from error
            if is_impatient:
                raise StillLocked(CONFLICT_DETAIL) from error
            raise (LockWaitTimeout if is_lock_wait(error) else TooManyConflicts)(CONFLICT_DETAIL) from error
        reason = CONNECTION if is_lost(error) else REASONS.get(_error_code(error) or 0, "lock_wait")
        _retries_by_reason[reason].inc()
        log.info("transaction retried", error=error)

    def _unavailable(self, detail: Text) -> DatabaseUnavailable:
        return DatabaseUnavailable(OUTCOME_UNKNOWN_DETAIL if self._in_doubt else detail)


def _error_code(error: BaseException) -> int | None:
    return error.args[0] if error.args and isinstance(error.args[0], int) else None
