"""With `DATABASE_PIPELINING=0` each statement travels alone, as Django sends it, and the races hold as well.

`make test ARGS="…" DATABASE_PIPELINING=0` runs any other test so.
"""

import sys
from collections.abc import Iterator

import pytest
from django.db import ProgrammingError, connection, connections, transaction
from MySQLdb.constants import CLIENT

from scripts.tests import programs
from shop.db import bulk_sql
from shop.db.mysql.base import DatabaseWrapper
from shop.tests import tally
from shop.tests.second_connection import ask
from shop.tests.second_process import another_process, read_line
from shop.tests.test_deferred_statements import sent

# A choice that takes little time of each kind: races, deadlocks, lost answers to COMMIT, killed processes.
CHOSEN = (
    "shop/tests/test_transactions.py::test_1213_a_deadlock_is_retried",
    "shop/tests/test_transactions.py::test_1205_a_lock_that_is_kept_too_long_is_waited_for_again",
    "shop/tests/test_batching_locks.py::test_a_stuck_row_is_forgotten_as_soon_as_it_is_free",
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
def plain(counting: None) -> Iterator[DatabaseWrapper]:
    """This thread's connection, as it is with the setting off."""
    usual = connections["default"]
    options = usual.settings_dict["OPTIONS"] | {"multi_statements": False}
    plain = DatabaseWrapper({**usual.settings_dict, "OPTIONS": options}, alias="default")
    connections["default"] = plain
    try:
        yield plain
    finally:
        plain.close()
        connections["default"] = usual


@pytest.mark.boots("another process of the shop")
@pytest.mark.parametrize(
    ("value", "engine", "asks_for_several"),
    [("0", "shop.db.mysql.base", False), ("1", "shop.db.mysql.pipelined.base", True)],
)
@pytest.mark.django_db(transaction=True)
def test_the_setting_chooses_the_backend(value: str, engine: str, asks_for_several: bool) -> None:
    with another_process(ENGINE, DATABASE_PIPELINING=value) as process:
        module, flags = read_line(process).split()
    assert (module, bool(int(flags) & CLIENT.MULTI_STATEMENTS)) == (engine, asks_for_several)


def test_a_write_is_sent_where_it_is_written(plain: DatabaseWrapper) -> None:
    with transaction.atomic():
        bulk_sql.execute_deferred("INSERT INTO tally_entry VALUES (%s, %s)", ["one", 1])
        assert sent() == {"one": 1}
    assert tally.entries() == {"one": 1}


def test_a_transaction_begins_as_django_begins_it(plain: DatabaseWrapper) -> None:
    with transaction.atomic():
        assert not plain.connection.get_autocommit()
    assert plain.connection.get_autocommit()


def test_a_packet_of_several_statements_is_refused_by_the_server(plain: DatabaseWrapper) -> None:
    with pytest.raises(ProgrammingError, match="1064"):
        ask(plain, "DO 0; DO 0")


@pytest.mark.boots("pytest")
@pytest.mark.django_db(transaction=True)
def test_the_races_hold_with_each_statement_by_itself() -> None:
    """In another process, on a database of its own; this one has a backend already."""
    own = f"{connection.settings_dict['NAME']}_plain"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", *CHOSEN]
    ran = programs.run(command, seconds=600, DATABASE_PIPELINING="0", TEST_DATABASE_NAME=own)
    assert "skipped" not in ran
