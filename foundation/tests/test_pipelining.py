"""Statements that travel together, all or none; alone with `DATABASE_PIPELINING=0`; and their hooks."""

import inspect
import sys
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import Error, IntegrityError, OperationalError, ProgrammingError, connection, transaction
from django.db.backends.mysql import base as django_mysql
from django.db.backends.utils import debug_transaction
from MySQLdb.constants import CLIENT
from MySQLdb.cursors import Cursor

from foundation.db import bulk_sql, open_transaction, transactions
from foundation.db.mysql import base as watched
from foundation.db.mysql.base import DatabaseWrapper
from foundation.db.mysql.pipelined import base as pipelined_base
from foundation.tests import tally
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import another_connection, ask, connection_id, in_its_place, kill
from foundation.tests.second_process import another_process, read_line
from foundation.tests.waiting import in_background
from scripts.tests import programs

INSERT = "INSERT INTO tally_entry VALUES (%s, %s)"
BEGUN = "SHOW SESSION STATUS LIKE 'Com_begin'"
UNCOMMITTED = "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"


@pytest.fixture
def pipelined(counting):
    """An empty tally, where statements are written behind; what holds without that is below."""
    if not settings.DATABASE_PIPELINING:
        pytest.skip("DATABASE_PIPELINING is off")


def write(name: str, position: int):
    bulk_sql.execute_deferred(INSERT, [name, position])


def sent() -> dict[str, int]:
    with another_connection() as other:
        ask(other, UNCOMMITTED)
        return dict(ask(other, "SELECT name, position FROM tally_entry WHERE name <> %s", tally.TAKEN))


def test_deferred_statements_are_sent_with_the_next_one_and_before_it(pipelined):
    both = {"one": 1, "50 % of ; two": 2}
    with transaction.atomic():
        for name, position in both.items():
            write(name, position)
        assert sent() == {}

        assert tally.entries() == sent() == both

    assert tally.entries() == both


def test_many_statements_go_before_several_at_once_and_outside_a_transaction_one_at_once(pipelined):
    write("nine", 9)
    assert tally.entries() == {"nine": 9}
    with transaction.atomic():
        write("one", 1)
        with connection.cursor() as cursor:
            cursor.executemany(INSERT, [("two", 2), ("three", 3)])
        assert cursor.rowcount == 2

    assert tally.entries() == {"nine": 9, "one": 1, "two": 2, "three": 3}


def test_no_packet_is_too_large_for_a_server(pipelined):
    [(_, most)] = ask(connection, "SHOW VARIABLES LIKE 'max_allowed_packet'")
    padded = f"{INSERT} /* {'x' * 300_000} */"
    count = int(most) // 300_000 + 2
    with transaction.atomic():
        for number in range(1, count + 1):
            bulk_sql.execute_deferred(padded, [str(number), number])
        assert len(sent()) > count - 5

    assert len(tally.entries()) == count


def test_a_transaction_that_does_nothing_is_never_begun(pipelined):
    before = ask(connection, BEGUN)
    with transaction.atomic():
        pass
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        raise ZeroDivisionError

    assert ask(connection, BEGUN) == before


def test_commit_raises_the_error_and_nothing_is_written(pipelined):
    with pytest.raises(IntegrityError), transaction.atomic():
        # The driver raises an operational error for it, but a retry can't succeed.
        bulk_sql.execute_deferred("INSERT INTO tally_entry VALUES (%s, NULL)", ["one"])
    with pytest.raises(IntegrityError), transaction.atomic():
        write("one", 1)
        write(tally.TAKEN, 2)
        write("three", 3)

    assert sent() == {}


def test_the_next_statement_raises_the_error(pipelined):
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            write(tally.TAKEN, 2)
            tally.entries()
        transaction.set_rollback(True)

    assert tally.entries() == {}


def test_deferred_statements_of_a_rolled_back_transaction_are_not_sent_nor_any_before_its_rollback(pipelined):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        write("one", 1)
        raise ZeroDivisionError
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
        transaction.set_rollback(True)
        write("one", 1)

    with transaction.atomic():
        write("two", 2)
    assert tally.entries() == {"two": 2}, "those of a transaction that is committed are"


def test_a_savepoint_contains_the_statements_deferred_in_it(pipelined):
    with transaction.atomic():
        write("one", 1)
        with pytest.raises(IntegrityError), transaction.atomic():
            write(tally.TAKEN, 2)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            write("three", 3)
            write(tally.TAKEN, 3)
            raise ZeroDivisionError
        write("four", 4)

    assert tally.entries() == {"one": 1, "four": 4}


def test_an_error_before_a_savepoint_is_not_undone_by_it(pipelined):
    """Code that continues after a failed savepoint must not continue without what came before it."""

    def work():
        write("one", 1)
        write(tally.TAKEN, 2)
        try:
            with open_transaction.savepoint():
                pass
        except IntegrityError:
            write("three", 3)

    with pytest.raises(transaction.TransactionManagementError):
        transactions.run(work, transactions.KEYED)
    assert tally.entries() == {}


def test_a_connection_that_is_lost_meanwhile_commits_nothing(pipelined):
    number = connection_id()
    with pytest.raises(Error), transaction.atomic():
        tally.entries()
        write("one", 1)
        kill(number)

    connection.close()
    assert tally.entries() == {}


SLEEPING = "SELECT 1 FROM information_schema.processlist WHERE state = 'User sleep' AND id = %s"


def test_a_connection_that_is_lost_between_two_results_was_an_error_that_nothing_recognised(pipelined):
    """A webhook was answered 500: the cursor raised MySQLdb's error when Django closed it."""
    number = connection_id()

    def kill_while_it_sleeps():
        with another_connection() as other:
            wait_until(lambda: bool(ask(other, SLEEPING, number)))
        kill(number)

    with pytest.raises(OperationalError) as lost, transaction.atomic():
        write("one", 1)
        bulk_sql.execute_deferred("DO SLEEP(20)")
        killed = in_background(kill_while_it_sleeps)
        list(User.objects.all())

    killed.result()
    assert transactions.is_lost(lost.value)
    connection.close()
    assert tally.entries() == {}


def test_the_work_is_repeated_on_another_connection(pipelined):
    attempts = []

    def work():
        attempts.append(connection_id())
        write("one", 1)
        if len(attempts) == 1:
            kill(attempts[0])

    transactions.run(work, transactions.KEYED)

    assert len(set(attempts)) == 2
    assert tally.entries() == {"one": 1}


# With `DATABASE_PIPELINING=0` each statement travels alone, as Django sends it, and the races hold as well.
# `make test ARGS="…" DATABASE_PIPELINING=0` runs any other test so.

# A choice that takes little time of each kind: races, deadlocks, lost answers to COMMIT, killed processes.
CHOSEN = (
    "foundation/tests/test_transactions.py::test_1213_a_deadlock_is_retried",
    "foundation/tests/test_transactions.py::test_1205_a_lock_that_is_kept_too_long_is_waited_for_again",
    "foundation/tests/test_batching_locks.py::test_a_stuck_row_is_forgotten_as_soon_as_it_is_free",
    "coupons/tests/test_lost_commits.py::test_a_created_campaign_is_returned_and_exists_once",
    "inventory/tests/test_races.py::test_goods_are_received_once",
    "coupons/tests/test_issuing_races.py::test_exactly_100_are_issued_to_200_concurrent_requests[group_commit]",
    "coupons/tests/test_issuing_races.py::test_exactly_100_are_issued_to_200_concurrent_requests[optimistic]",
    "coupons/tests/test_issuing_races.py::test_without_a_lock_more_are_issued_than_there_are",
    "coupons/tests/test_row_strategies.py::test_a_process_killed_after_its_commits_has_issued_the_coupons",
    "coupons/tests/test_row_strategies.py::test_a_deadlock_is_retried[pessimistic]",
    "payments/tests/test_ledger_races.py::test_50_calls_with_one_key_grant_once",
    "inventory/tests/test_races.py::test_50_equal_keyed_adjustments_at_once_are_one_movement",
    "orders/tests/test_races.py::test_stock_of_100_is_sold_to_exactly_100",
)
ENGINE = """
from django.db import connections
own = connections["default"]
own.ensure_connection()
print("ready", flush=True)
print(type(own).__module__, own.connection.client_flag, flush=True)
"""


@pytest.fixture
def plain(counting):
    """This thread's connection, as it is with the setting off."""
    options = connection.settings_dict["OPTIONS"] | {"multi_statements": False}
    plain = DatabaseWrapper({**connection.settings_dict, "OPTIONS": options}, alias="default")
    with in_its_place(plain):
        yield plain


@pytest.mark.boots("another process of the shop")
@pytest.mark.parametrize(
    ("value", "engine", "asks_for_several"),
    [("0", "foundation.db.mysql.base", False), ("1", "foundation.db.mysql.pipelined.base", True)],
)
def test_the_setting_chooses_the_backend(transactional_db, value, engine, asks_for_several):
    with another_process(ENGINE, DATABASE_PIPELINING=value) as process:
        module, flags = read_line(process).split()
    assert (module, bool(int(flags) & CLIENT.MULTI_STATEMENTS)) == (engine, asks_for_several)


def test_statements_are_sent_one_by_one_where_they_are_written_and_transactions_begin_as_djangos(plain):
    with transaction.atomic():
        assert not plain.connection.get_autocommit()
        bulk_sql.execute_deferred("INSERT INTO tally_entry VALUES (%s, %s)", ["one", 1])
        assert sent() == {"one": 1}
    assert plain.connection.get_autocommit()
    assert tally.entries() == {"one": 1}
    # The server refuses a packet of several.
    with pytest.raises(ProgrammingError, match="1064"):
        ask(plain, "DO 0; DO 0")


@pytest.mark.boots("pytest")
def test_the_races_hold_with_each_statement_by_itself(transactional_db):
    """In another process, on a database of its own; this one has a backend already."""
    own = f"{connection.settings_dict['NAME']}_plain"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", *CHOSEN]
    ran = programs.run(command, seconds=600, DATABASE_PIPELINING="0", TEST_DATABASE_NAME=own)
    assert "skipped" not in ran


# What `foundation/db/mysql/pipelined/base.py` relies on in Django and mysqlclient beyond what is public:
# the tests above on its behaviour, these on names and parameters. Where one fails with another version,
# compare its source with that module before it serves; `DATABASE_PIPELINING=0` turns all of it off meanwhile.

OWN = {"execute_deferred", "_send_commit"}
# `BaseDatabaseWrapper.set_autocommit` calls it where a backend has it; SQLite's has.
CALLED_IF_THERE = {"_start_transaction_under_autocommit"}


def overridden(kind: type, parent: type) -> dict[str, tuple[Any, Any]]:
    """Each method of `kind` with the parent's of the same name, if there is one."""
    methods = {name: made for name, made in vars(kind).items() if inspect.isfunction(made)}
    return {name: (made, getattr(parent, name, None)) for name, made in methods.items()}


@pytest.mark.parametrize("kind", [pipelined_base.DatabaseWrapper, watched.DatabaseWrapper])
def test_the_overridden_methods_of_connections_are_there(kind):
    for name, (ours, theirs) in overridden(kind, django_mysql.DatabaseWrapper).items():
        if name in OWN | CALLED_IF_THERE | {"__init__"}:
            continue
        assert theirs is not None, f"Django has no {name}"
        assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters], name


def test_the_overridden_methods_of_cursors_are_there():
    methods = overridden(pipelined_base._Cursor, Cursor) | {"_mogrify": (None, Cursor._mogrify)}
    for name, (ours, theirs) in methods.items():
        assert theirs is not None, f"mysqlclient has no {name}"
        assert ours is None or [*inspect.signature(ours).parameters] == [
            *inspect.signature(theirs).parameters
        ]
    assert [*inspect.signature(Cursor._mogrify).parameters] == ["self", "query", "args"]
    assert [*inspect.signature(debug_transaction).parameters] == ["connection", "sql"]
