"""Deferred statements are sent with the next statement or with COMMIT: in order, all or none."""

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import Error, IntegrityError, OperationalError, connection, transaction

from shop.db import bulk_sql, open_transaction, transactions
from shop.tests import tally
from shop.tests.racing import wait_until
from shop.tests.second_connection import another_connection, ask, connection_id, kill
from shop.tests.waiting import in_background

# Without pipelining nothing is written behind; `test_pipelining_off.py` has what holds then.
pytestmark = pytest.mark.skipif(not settings.DATABASE_PIPELINING, reason="DATABASE_PIPELINING is off")

INSERT = "INSERT INTO tally_entry VALUES (%s, %s)"
BEGUN = "SHOW SESSION STATUS LIKE 'Com_begin'"
UNCOMMITTED = "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"


def write(name: str, position: int) -> None:
    bulk_sql.execute_deferred(INSERT, [name, position])


def sent() -> dict[str, int]:
    with another_connection() as other:
        ask(other, UNCOMMITTED)
        return dict(ask(other, "SELECT name, position FROM tally_entry WHERE name <> %s", tally.TAKEN))


def test_deferred_statements_are_sent_with_the_next_one_and_before_it(counting: None) -> None:
    both = {"one": 1, "50 % of ; two": 2}
    with transaction.atomic():
        for name, position in both.items():
            write(name, position)
        assert sent() == {}

        assert tally.entries() == sent() == both

    assert tally.entries() == both


def test_commit_sends_the_remaining_deferred_statements(counting: None) -> None:
    with transaction.atomic():
        write("one", 1)

    # By another connection, which sees only committed rows.
    assert in_background(tally.entries).result() == {"one": 1}


def test_many_statements_go_before_several_at_once(counting: None) -> None:
    with transaction.atomic():
        write("one", 1)
        with connection.cursor() as cursor:
            cursor.executemany(INSERT, [("two", 2), ("three", 3)])
        assert cursor.rowcount == 2

    assert tally.entries() == {"one": 1, "two": 2, "three": 3}


def test_no_packet_is_too_large_for_a_server(counting: None) -> None:
    [(_, most)] = ask(connection, "SHOW VARIABLES LIKE 'max_allowed_packet'")
    padded = f"{INSERT} /* {'x' * 300_000} */"
    count = int(most) // 300_000 + 2
    with transaction.atomic():
        for number in range(1, count + 1):
            bulk_sql.execute_deferred(padded, [str(number), number])
        assert len(sent()) > count - 5

    assert len(tally.entries()) == count


def test_a_transaction_that_does_nothing_is_never_begun(counting: None) -> None:
    before = ask(connection, BEGUN)
    with transaction.atomic():
        pass
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        raise ZeroDivisionError

    assert ask(connection, BEGUN) == before


def test_commit_raises_the_error_and_nothing_is_written(counting: None) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        write("one", 1)
        write(tally.TAKEN, 2)
        write("three", 3)

    assert sent() == {}


def test_a_null_in_a_required_column_is_an_integrity_error(counting: None) -> None:
    """The driver raises an operational error for it, but a retry can't succeed."""
    with pytest.raises(IntegrityError), transaction.atomic():
        bulk_sql.execute_deferred("INSERT INTO tally_entry VALUES (%s, NULL)", ["one"])


def test_the_next_statement_raises_the_error(counting: None) -> None:
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            write(tally.TAKEN, 2)
            tally.entries()
        transaction.set_rollback(True)

    assert tally.entries() == {}


def test_deferred_statements_of_a_rolled_back_transaction_are_not_sent(counting: None) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        write("one", 1)
        raise ZeroDivisionError

    with transaction.atomic():
        write("two", 2)
    assert tally.entries() == {"two": 2}


def test_a_savepoint_contains_the_statements_deferred_in_it(counting: None) -> None:
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


def test_an_error_before_a_savepoint_is_not_undone_by_it(counting: None) -> None:
    """Code that continues after a failed savepoint must not continue without what came before it."""

    def work() -> None:
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


def test_nothing_is_written_in_a_transaction_that_is_to_be_rolled_back(counting: None) -> None:
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
        transaction.set_rollback(True)
        write("one", 1)


def test_a_connection_that_is_lost_meanwhile_commits_nothing(counting: None) -> None:
    number = connection_id()
    with pytest.raises(Error), transaction.atomic():
        tally.entries()
        write("one", 1)
        kill(number)

    connection.close()
    assert tally.entries() == {}


SLEEPING = "SELECT 1 FROM information_schema.processlist WHERE state = 'User sleep' AND id = %s"


def kill_while_it_sleeps(number: int) -> None:
    with another_connection() as other:
        wait_until(lambda: bool(ask(other, SLEEPING, number)))
    kill(number)


def test_a_connection_that_is_lost_between_two_results_was_an_error_that_nothing_recognised(
    counting: None,
) -> None:
    """A webhook was answered 500: the cursor raised MySQLdb's error when Django closed it."""
    number = connection_id()
    with pytest.raises(OperationalError) as lost, transaction.atomic():
        write("one", 1)
        bulk_sql.execute_deferred("DO SLEEP(20)")
        killed = in_background(lambda: kill_while_it_sleeps(number))
        list(User.objects.all())

    killed.result()
    assert transactions.is_lost(lost.value)
    connection.close()
    assert tally.entries() == {}


def test_the_work_is_repeated_on_another_connection(counting: None) -> None:
    attempts = []

    def work() -> None:
        attempts.append(connection_id())
        write("one", 1)
        if len(attempts) == 1:
            kill(attempts[0])

    transactions.run(work, transactions.KEYED)

    assert len(set(attempts)) == 2
    assert tally.entries() == {"one": 1}


def test_outside_a_transaction_it_is_written_at_once(counting: None) -> None:
    write("one", 1)

    assert tally.entries() == {"one": 1}
