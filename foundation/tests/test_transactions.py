import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from django.db import IntegrityError, InternalError, OperationalError, connection, transaction

from foundation.db import open_transaction, transactions
from foundation.errors import Unavailable
from foundation.http import problems
from foundation.tests import servers, tally
from foundation.tests.lost_replies import error_packet, losing_reply_to_commit
from foundation.tests.outages import database_away
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import another_connection, ask, connection_id, holding, kill
from foundation.tests.waiting import waiting_at, within
from scripts.stack import ports


class Work:
    """Work for `transactions.run` that calls `body` in each attempt, and records the errors."""

    def __init__(self, body):
        self.errors: list[int | None] = []
        self.attempts = 0
        self._body = body

    def __call__(self):
        self.attempts += 1
        try:
            return self._body(self.attempts)
        except OperationalError as error:
            self.errors.append(error.args[0])
            raise


def count_one(name="one") -> int:
    existing = ask(connection, "SELECT position FROM tally_entry WHERE name = %s", name)
    if existing:
        return int(existing[0][0])
    [position] = tally.count([name])
    assert isinstance(position, int)
    return position


def test_production_waits_five_seconds_for_a_lock_and_reads_what_is_committed(counting):
    with another_connection() as fresh:
        waits_and_mode = ask(fresh, "SELECT @@innodb_lock_wait_timeout, @@sql_mode LIKE '%%STRICT%%'")
        assert waits_and_mode == [(5, 1)]
        assert servers.isolation_level(fresh) == "READ-COMMITTED"


class Opponent:
    """Another client that locks the same two rows in reverse order, and is not the one rolled back."""

    def __init__(self):
        self._has_other, self._may_want_hot = threading.Event(), threading.Event()

    def __call__(self):
        with holding(tally.LOCK, tally.OTHER) as other:
            self._has_other.set()
            assert self._may_want_hot.wait(10)
            tally.make_heavy(other)
            ask(other, tally.LOCK, tally.HOT)

    def collide(self):
        """Lock the row that the opponent holds; the hot row must be locked here already."""
        assert self._has_other.wait(10)
        self._may_want_hot.set()
        ask(connection, tally.LOCK, tally.OTHER)


def test_1213_a_deadlock_is_retried(counting):
    opponent = Opponent()

    def lock_both(attempt):
        position = count_one()
        opponent.collide()
        return position

    work = Work(lock_both)
    assert race([lambda: transactions.run(work, transactions.KEYED), opponent]) == [1, None]
    assert (work.attempts, work.errors) == (2, [1213])
    assert tally.entries() == {"one": 1}


def run_impatiently(work):
    ask(connection, "SET SESSION innodb_lock_wait_timeout = 1")
    return transactions.run(work, transactions.KEYED)


def test_1205_a_lock_that_is_kept_too_long_is_waited_for_again(counting):
    is_kept = threading.Event()
    work = Work(lambda attempt: count_one())

    def keep_until_it_has_failed():
        with holding(tally.LOCK, tally.HOT):
            is_kept.set()
            wait_until(lambda: bool(work.errors))

    def impatient():
        assert is_kept.wait(10)
        return int(run_impatiently(work))

    assert race([impatient, keep_until_it_has_failed]) == [1, None]
    assert (work.attempts, work.errors) == (2, [1205])
    assert tally.entries() == {"one": 1}


def test_1020_a_row_changed_since_it_was_read_is_read_again(counting):
    """MariaDB raises 1020 under REPEATABLE READ with snapshot isolation, its default from 11.6 on."""
    if not servers.is_mariadb():
        pytest.skip("MySQL has no snapshot isolation, and no error 1020.")

    def read_then_write(attempt):
        value = int(ask(connection, "SELECT value FROM tally WHERE id = %s", tally.HOT)[0][0])
        if attempt == 1:
            with another_connection() as other:
                ask(other, "UPDATE tally SET value = 10 WHERE id = %s", tally.HOT)
        with transaction.atomic():
            ask(connection, "UPDATE tally SET value = %s WHERE id = %s", value + 1, tally.HOT)
        return value

    work = Work(read_then_write)

    def with_snapshots():
        ask(connection, "SET SESSION innodb_snapshot_isolation = ON")
        ask(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return transactions.run(work, transactions.KEYED)

    assert race([with_snapshots]) == [10]
    assert (work.attempts, work.errors) == (2, [1020])
    assert tally.counted() == 11


def test_2006_a_connection_killed_while_idle_is_replaced(counting):
    kill(connection_id())
    assert transactions.run(count_one, transactions.KEYED) == 1
    assert tally.entries() == {"one": 1}


def test_2005_a_server_whose_name_is_not_known_is_unavailable_and_met_again_later(counting):
    """A container's name is known only while it runs: requests were answered 500 meanwhile."""
    with pytest.MonkeyPatch.context() as patched:
        connection.close()
        patched.setitem(connection.settings_dict, "HOST", "mysql.invalid")
        patched.delitem(connection.settings_dict["OPTIONS"], "unix_socket", raising=False)
        work = Work(lambda attempt: count_one())
        with pytest.raises(transactions.DatabaseUnavailable):
            transactions.run(work, transactions.KEYED)
        assert work.attempts == 0
    assert transactions.run(count_one, transactions.KEYED) == 1


def test_2006_a_connection_killed_within_a_transaction_is_replaced_and_all_is_done_again(counting):
    def killed_once(attempt):
        count_one("first")
        if attempt == 1:
            kill(connection_id())
        return count_one("second")

    work = Work(killed_once)
    assert transactions.run(work, transactions.KEYED) == 2
    assert work.attempts == 2
    assert work.errors[0] in {2006, 2013}
    assert tally.entries() == {"first": 1, "second": 2}


def test_2013_a_connection_killed_during_a_query_is_replaced(counting):
    numbers = []
    is_kept = threading.Event()

    def wait_for_lock(attempt):
        numbers.append(connection_id())
        return count_one()

    work = Work(wait_for_lock)

    def hold_and_kill_the_waiter():
        with holding(tally.LOCK, tally.HOT):
            is_kept.set()
            wait_until(lambda: waiting_at(f"{tally.LOCK.partition('%')[0]}%") == 1)
            kill(numbers[0])

    def wait_in_vain():
        assert is_kept.wait(10)
        return transactions.run(work, transactions.KEYED)

    assert race([wait_in_vain, hold_and_kill_the_waiter]) == [1, None]
    assert (work.attempts, work.errors) == (2, [2013])
    assert tally.entries() == {"one": 1}


def test_when_the_reply_to_the_commit_is_lost_work_that_can_be_repeated_is_done_once(counting, tmp_path):
    work = Work(lambda attempt: count_one())
    with losing_reply_to_commit(tmp_path) as is_lost:
        assert transactions.run(work, transactions.KEYED) == 1
        assert is_lost.is_set()
    assert work.attempts == 2
    assert tally.entries() == {"one": 1}
    assert tally.counted() == 1


def add_one(attempt: int) -> int:
    """Work that a repeat would do twice. Returns the attempt."""
    ask(connection, "UPDATE tally SET value = value + 1 WHERE id = %s", tally.HOT)
    return attempt


@pytest.mark.parametrize(("effect", "counted"), [(transactions.ONCE, 1), (transactions.KEYED, 2)])
def test_when_the_reply_to_the_commit_is_lost_work_that_is_to_be_done_once_is_not_done_again(
    counting, tmp_path, effect, counted
):
    """The control case is the same work with the wrong `effect`."""
    work = Work(add_one)
    with losing_reply_to_commit(tmp_path) as is_lost:
        assert transactions.run(work, effect) == counted
        assert is_lost.is_set()
    assert (work.attempts, tally.counted()) == (counted, counted)


@pytest.mark.parametrize("effect", [transactions.ONCE, transactions.KEYED])
def test_work_killed_before_its_commit_is_done_again_and_once(counting, effect):
    def add_one_and_kill(attempt):
        outcome = add_one(attempt)
        if attempt == 1:
            kill(connection_id())
        return outcome

    work = Work(add_one_and_kill)
    assert transactions.run(work, effect) == 2
    assert (work.attempts, work.errors, tally.counted()) == (2, [], 1)


def test_a_commit_that_arrives_after_its_connection_broke_is_waited_for(counting, tmp_path):
    def wait_for_the_next_attempt():
        wait_until(lambda: waiting_at("INSERT INTO%shop_committedtransaction%") > 0)

    work = Work(add_one)
    with losing_reply_to_commit(tmp_path, before_commit=wait_for_the_next_attempt) as is_lost:
        assert transactions.run(work, transactions.ONCE) == 1
        assert is_lost.is_set()
    assert (work.attempts, tally.counted()) == (1, 1)


def test_a_commit_that_is_refused_by_a_hook_though_it_was_done_is_not_done_again(counting, tmp_path):
    work = Work(add_one)
    with losing_reply_to_commit(tmp_path, instead=error_packet(3100)) as is_lost:
        assert transactions.run(work, transactions.ONCE) == 1
        assert is_lost.is_set()
    assert tally.counted() == 1


def test_after_a_lost_reply_to_the_commit_conflicts_do_not_say_that_nothing_was_done(counting, tmp_path):
    work = Work(lambda attempt: count_one("one" if attempt == 1 else "unlucky"))
    with conflict_for("unlucky", 1213), losing_reply_to_commit(tmp_path) as is_lost:
        with pytest.raises(transactions.OutcomeUnknown) as given_up:
            transactions.run(work, transactions.KEYED)
        assert is_lost.is_set()
    assert "not known" in given_up.value.detail
    assert "nothing was done" not in given_up.value.detail
    assert given_up.value.code == "unavailable"
    assert tally.entries() == {"one": 1}


def test_after_a_lost_reply_to_the_commit_a_database_that_stays_away_leaves_it_unknown(counting, tmp_path):
    with (
        losing_reply_to_commit(tmp_path, is_the_end=True),
        pytest.raises(transactions.DatabaseUnavailable) as away,
    ):
        transactions.run(count_one, transactions.KEYED)
    assert "not known" in away.value.detail
    assert tally.entries() == {"one": 1}


@pytest.mark.parametrize(
    "number",
    # The last is half a greeting of a server that was killed meanwhile, which MySQL Router passes on.
    [*sorted(transactions.NOT_PRIMARY | {1158, 1159, 1160, 1161}), 2027],
)
def test_an_error_of_a_server_that_is_not_the_primary_counts_as_a_lost_connection(counting, number):
    """A planned switchover caused 51 HTTP 500s, because these error numbers were not handled."""
    connections = []

    def turned_away_once(attempt):
        connections.append(connection_id())
        return count_one("unlucky" if attempt == 1 else "one")

    work = Work(turned_away_once)
    with conflict_for("unlucky", number):
        assert transactions.run(work, transactions.KEYED) == 1
    assert work.errors == [number]
    assert len(set(connections)) == 2, "the next attempt has a connection of its own"


@pytest.mark.parametrize("number", [1213, 1205, 1020, 3101])
def test_conflicts_without_end_are_given_up_after_three_retries(counting, number):
    """A trigger raises the server's own error number each time."""
    work = Work(lambda attempt: count_one("unlucky"))
    with conflict_for("unlucky", number), pytest.raises(Unavailable) as given_up:
        transactions.run(work, transactions.KEYED)
    assert (given_up.value.code, given_up.value.retry_after) == ("unavailable", 1)
    assert work.errors == [number] * 4
    assert tally.entries() == {}


@contextmanager
def conflict_for(name: str, number: int):
    ask(
        connection,
        "CREATE TRIGGER tally_conflict BEFORE INSERT ON tally_entry FOR EACH ROW "
        "IF NEW.name = %s THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = %s; END IF",
        name,
        number,
    )
    try:
        yield
    finally:
        ask(connection, "DROP TRIGGER tally_conflict")


def test_a_lock_that_is_kept_for_good_is_not_waited_for_four_times(counting, monkeypatch):
    monkeypatch.setattr(transactions, "CONFLICT_BUDGET_SECONDS", 1.5)
    work = Work(lambda attempt: count_one())
    with holding(tally.LOCK, tally.HOT):
        assert isinstance(race([lambda: run_impatiently(work)])[0], Unavailable)
    # MySQL looks for waits that are over once a second: one of a second may take two, which is all there is.
    assert work.errors == [1205, 1205] or (not servers.is_mariadb() and work.errors == [1205])


@pytest.mark.parametrize("name", [tally.TAKEN, "database is locked"])
def test_an_error_that_is_no_conflict_is_not_retried(counting, name):
    ask(connection, "INSERT IGNORE INTO tally_entry VALUES (%s, -1)", name)
    work = Work(lambda attempt: tally.count([name]) if name != tally.TAKEN else tally.count(["repeating"]))
    with pytest.raises(IntegrityError):
        transactions.run(work, transactions.KEYED)
    assert work.attempts == 1


def test_1114_a_table_that_can_not_grow_is_no_failure_of_the_program_and_nothing_was_done(counting):
    def body(attempt):
        count_one()
        # A table in memory, until the server has no more space for it; it ends with the connection.
        ask(connection, "SET SESSION max_heap_table_size = 16384")
        ask(connection, "CREATE TEMPORARY TABLE small (value CHAR(255)) ENGINE=MEMORY")
        while True:
            ask(connection, "INSERT INTO small VALUES ('')")

    work = Work(body)
    with pytest.raises(transactions.DatabaseUnavailable, match="no space left"):
        transactions.run(work, transactions.KEYED)
    assert (work.errors, work.attempts) == ([1114], 1)
    connection.close()
    assert count_one() == 1


@pytest.mark.parametrize(
    "error",
    [
        InternalError(3, "Error writing file './f/small.MYD' (Errcode: 28 \"No space left on device\")"),
        OperationalError(1021, "Disk full (/tmp/#sql-temptable); waiting for someone to free some space..."),
        OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk_is_answered_503(error):
    answer = problems.from_error(error)
    assert (answer.status_code, answer.code) == (503, "unavailable")
    assert answer.headers["Retry-After"]


def test_inside_a_transaction_only_the_outermost_one_is_retried(counting):
    """After 1213 the server has rolled back savepoints too: only the whole transaction can be retried."""
    opponent = Opponent()
    inner = Work(lambda attempt: opponent.collide())

    def count_then_collide(attempt):
        position = count_one()
        transactions.run_or_savepoint(inner, transactions.KEYED)
        return position

    outer = Work(count_then_collide)
    assert race([lambda: transactions.run(outer, transactions.KEYED), opponent]) == [1, None]
    assert (inner.attempts, outer.attempts) == (2, 2)
    assert tally.entries() == {"one": 1}


def test_inside_djangos_own_transaction_nothing_is_retried(counting):
    work = Work(lambda attempt: count_one("unlucky"))
    with conflict_for("unlucky", 1213), pytest.raises(OperationalError), transaction.atomic():
        transactions.run_or_savepoint(work, transactions.KEYED)
    assert work.attempts == 1


def test_run_inside_a_transaction_is_refused_because_it_would_not_be_durable(counting):
    work = Work(lambda attempt: count_one())
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
        transactions.run(work, transactions.KEYED)
    assert work.attempts == 0
    assert transactions.run_or_savepoint(work, transactions.KEYED) == 1


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_database_that_refuses_or_never_replies_is_reported_quickly_and_recovers(counting, is_silent):
    with socket.create_server((ports.HOST, 0)) as silent, database_away():
        if is_silent:
            connection.settings_dict["PORT"] = str(silent.getsockname()[1])
        with within(6), pytest.raises(transactions.DatabaseUnavailable) as away:
            transactions.run(count_one, transactions.KEYED)
    assert (away.value.code, away.value.retry_after) == ("unavailable", 1)
    assert transactions.run(count_one, transactions.KEYED) == 1


def test_what_belongs_inside_or_outside_a_transaction_is_refused_elsewhere(counting):
    writes = []
    open_transaction.assert_outside()
    with pytest.raises(transaction.TransactionManagementError):
        open_transaction.assert_inside()
    with transaction.atomic():
        open_transaction.assert_inside()
        open_transaction.write_before_commit(writes.append, ["a"])
        assert writes == [["a"]], "at once in one that was opened elsewhere"
        with pytest.raises(transaction.TransactionManagementError):
            open_transaction.assert_outside()


def test_the_transaction_around_a_test_case_does_not_count(db):
    open_transaction.assert_outside()


ONE_ROW_ON_SQLITE = """
import django
django.setup()
from django.db import connection
from foundation.db import transactions

def work():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO tally VALUES (1)")

transactions.run(work, transactions.REPEATABLE)
"""


@pytest.mark.boots("a Python process", in_first_circle=True)
def test_a_locked_sqlite_database_is_retried(tmp_path):
    """In another process, because the database here is MariaDB; this process holds SQLite's write lock."""
    path = tmp_path / "tally.sqlite3"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE tally (value INTEGER)")
    holder.execute("BEGIN IMMEDIATE")
    environment = os.environ | {"DATABASE_URL": f"sqlite:///{path}?timeout=1", "LOG_LEVEL": "INFO"}
    command = [sys.executable, "-c", ONE_ROW_ON_SQLITE]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "transaction retried" in process.stderr.readline()
        holder.execute("ROLLBACK")
        assert process.wait(timeout=60) == 0, process.stderr.read()
    assert holder.execute("SELECT COUNT(*) FROM tally").fetchone() == (1,)
    holder.close()
