"""What `shop/db/mysql/pipelined/base.py` relies on in Django and mysqlclient beyond their public interfaces.

Each test fails when such a hook changes its name, its parameters, or what the backend needs of its behaviour;
the message says with which versions it was right, and what to look at. `DATABASE_PIPELINING=0` turns all of
this off meanwhile.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

import MySQLdb
import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.mysql import base as django_mysql
from django.db.backends.utils import debug_transaction
from MySQLdb.constants import CLIENT
from MySQLdb.cursors import Cursor

from shop.db.mysql import base as watched
from shop.db.mysql.pipelined import base as pipelined
from shop.tests import tally

TESTED = {"Django": "5.2.19", "mysqlclient": "2.3.1"}
OWN = {"execute_deferred", "_send_commit"}
# `BaseDatabaseWrapper.set_autocommit` calls it where a backend has it; SQLite's has.
CALLED_IF_THERE = {"_start_transaction_under_autocommit"}
INSERT = "INSERT INTO tally_entry VALUES ('{}', {})"


@contextmanager
def relied_upon(what: str) -> Iterator[None]:
    """Says of what goes wrong inside with which versions it went well, and which code needs it."""
    try:
        yield
    except Exception as error:
        tested, here = (
            " and ".join(f"{name} {of(name)}" for name in TESTED) for of in (TESTED.__getitem__, version)
        )
        raise AssertionError(
            f"{what}\nThis held with {tested}; here are {here}. Compare their source with "
            f"shop/db/mysql/pipelined/base.py before this version serves, or set DATABASE_PIPELINING=0."
        ) from error


def overridden(kind: type, parent: type) -> dict[str, tuple[Any, Any]]:
    """Each method of `kind` with the parent's of the same name, if there is one."""
    methods = {name: made for name, made in vars(kind).items() if inspect.isfunction(made)}
    return {name: (made, getattr(parent, name, None)) for name, made in methods.items()}


@pytest.mark.parametrize("kind", [pipelined.DatabaseWrapper, watched.DatabaseWrapper])
@relied_upon("Django's DatabaseWrapper has each method that the backend overrides, with the same parameters.")
def test_the_overridden_methods_of_connections_are_there(kind: type) -> None:
    for name, (ours, theirs) in overridden(kind, django_mysql.DatabaseWrapper).items():
        if name in OWN | CALLED_IF_THERE | {"__init__"}:
            continue
        assert theirs is not None, f"Django has no {name}"
        assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters], name


@relied_upon("mysqlclient's Cursor has each method that the backend's cursor overrides, and `_mogrify`.")
def test_the_overridden_methods_of_cursors_are_there() -> None:
    methods = overridden(pipelined._Cursor, Cursor) | {"_mogrify": (None, Cursor._mogrify)}
    del methods["_send_deferred"]
    for name, (ours, theirs) in methods.items():
        assert theirs is not None, f"mysqlclient has no {name}"
        assert ours is None or [*inspect.signature(ours).parameters] == [
            *inspect.signature(theirs).parameters
        ]
    assert [*inspect.signature(Cursor._mogrify).parameters] == ["self", "query", "args"]
    assert [*inspect.signature(debug_transaction).parameters] == ["connection", "sql"]


class Recorded(django_mysql.DatabaseWrapper):
    """Django's own backend, which notes the hooks that Django calls; BEGIN is a statement, as in ours."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.calls: list[str] = []

    def _start_transaction_under_autocommit(self) -> None:
        self.calls.append("_start_transaction_under_autocommit")
        self.connection.query("BEGIN")


def _noting(name: str) -> Any:
    def call(self: Recorded, *arguments: Any) -> Any:
        self.calls.append(name)
        return getattr(super(Recorded, self), name)(*arguments)

    return call


HOOKS = (
    "get_new_connection",
    "create_cursor",
    "_set_autocommit",
    "_commit",
    "_rollback",
    "_savepoint",
    "_savepoint_commit",
    "_savepoint_rollback",
    "_close",
)
for _name in HOOKS:
    setattr(Recorded, _name, _noting(_name))


@pytest.fixture
def recorded(counting: None) -> Iterator[Recorded]:
    """The connection of this thread, which is Django's own."""
    ours = connections["default"]
    recorded = Recorded({**ours.settings_dict, "CONN_HEALTH_CHECKS": False}, alias="default")
    connections["default"] = recorded
    try:
        yield recorded
    finally:
        recorded.close()
        connections["default"] = ours


def write(name: str, position: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSERT.format(name, position))


def calls_of(recorded: Recorded) -> list[str]:
    """The hooks that were called since the last look."""
    calls = [*recorded.calls]
    recorded.calls.clear()
    return calls


@relied_upon("A connection is opened by get_new_connection, with autocommit on from then on.")
def test_django_opens_a_connection(recorded: Recorded) -> None:
    recorded.connect()
    assert calls_of(recorded)[:2] == ["get_new_connection", "_set_autocommit"]
    assert recorded.connection.get_autocommit() and recorded.autocommit
    recorded.close()
    assert calls_of(recorded)[-1] == "_close" and recorded.connection is None


@relied_upon(
    "atomic() calls _start_transaction_under_autocommit once, then _commit or _rollback, and no other."
)
def test_django_begins_and_ends_a_transaction(recorded: Recorded) -> None:
    recorded.ensure_connection()
    calls_of(recorded)
    with transaction.atomic():
        assert calls_of(recorded) == ["_start_transaction_under_autocommit"]
        assert not recorded.autocommit and recorded.connection.get_autocommit()
        write("one", 1)
    # At the end autocommit is set, which mysqlclient doesn't send, for it is on.
    assert calls_of(recorded) == ["create_cursor", "_commit", "_set_autocommit"]
    with suppress(ZeroDivisionError), transaction.atomic():
        write("two", 2)
        raise ZeroDivisionError
    assert calls_of(recorded) == [
        "_start_transaction_under_autocommit",
        "create_cursor",
        "_rollback",
        "_set_autocommit",
    ]
    assert tally.entries() == {"one": 1}


@relied_upon("A COMMIT that fails is followed by _rollback.")
def test_django_rolls_back_what_it_could_not_commit(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Recorded) -> None:
        self.calls.append("_commit")
        raise IntegrityError

    recorded.ensure_connection()
    monkeypatch.setattr(Recorded, "_commit", fail)
    calls_of(recorded)
    with pytest.raises(IntegrityError), transaction.atomic():
        write("one", 1)
    assert calls_of(recorded)[-3:] == ["_commit", "_rollback", "_set_autocommit"]
    assert tally.entries() == {}


@relied_upon("Savepoints are made by _savepoint, and undone by _savepoint_rollback, with a statement each.")
def test_django_makes_savepoints(recorded: Recorded) -> None:
    with transaction.atomic():
        calls_of(recorded)
        with transaction.atomic():
            pass
        assert calls_of(recorded) == ["_savepoint", "create_cursor", "_savepoint_commit", "create_cursor"]
        with suppress(IntegrityError), transaction.atomic():
            write(tally.TAKEN, 1)
        assert calls_of(recorded) == [
            "_savepoint",
            "create_cursor",
            "create_cursor",
            "_savepoint_rollback",
            "create_cursor",
            "_savepoint_commit",
            "create_cursor",
        ]
        write("one", 1)
    assert tally.entries() == {"one": 1}


@relied_upon("A savepoint that can't be made leaves the decision on the transaction to needs_rollback.")
def test_django_commits_nothing_when_needs_rollback_is_set(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Recorded, sid: str) -> None:
        self.needs_rollback = True
        raise IntegrityError

    monkeypatch.setattr(Recorded, "_savepoint", fail)
    with transaction.atomic():
        write("one", 1)
        with suppress(IntegrityError), transaction.atomic():
            pass
        with pytest.raises(transaction.TransactionManagementError):
            recorded.validate_no_broken_transaction()
    assert "_rollback" in calls_of(recorded)
    assert tally.entries() == {}


@relied_upon("close() within a transaction calls _close at once, and nothing is committed or begun after it.")
def test_django_closes_a_connection_within_a_transaction(recorded: Recorded) -> None:
    with suppress(transaction.TransactionManagementError), transaction.atomic():
        write("one", 1)
        calls_of(recorded)
        recorded.close()
        assert calls_of(recorded) == ["_close"] and recorded.closed_in_transaction
    assert calls_of(recorded) == [] and recorded.connection is None
    assert tally.entries() == {}


@relied_upon("Turning autocommit off by hand calls _set_autocommit, not _start_transaction_under_autocommit.")
def test_django_turns_autocommit_off_by_hand(recorded: Recorded) -> None:
    recorded.ensure_connection()
    calls_of(recorded)
    recorded.set_autocommit(False)
    assert calls_of(recorded) == ["_set_autocommit"] and not recorded.connection.get_autocommit()
    recorded.rollback()
    assert calls_of(recorded) == ["_rollback"]


@relied_upon("CursorWrapper passes on the attributes of the driver's cursor, and tells constraints as such.")
def test_django_wraps_the_drivers_cursor(counting: None) -> None:
    connection.ensure_connection()
    with connection.connection.cursor(Cursor) as driver:
        wrapped = django_mysql.CursorWrapper(driver)
        assert wrapped.mogrify("SELECT %s", ["it's"]) == "SELECT 'it\\'s'"
        wrapped.execute("SELECT 1")
        assert connection.ops.last_executed_query(wrapped, "", None) == "SELECT 1"
        with pytest.raises(IntegrityError):
            # As MariaDB tells of a CHECK: the driver takes it for an operational error.
            wrapped.execute("SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 4025")


@pytest.fixture
def driver(counting: None) -> Iterator[Cursor]:
    """A cursor of mysqlclient's own, on a connection as it opens them."""
    parameters = connection.get_connection_params() | {"multi_statements": True}
    with MySQLdb.connect(**parameters) as own, own.cursor(Cursor) as cursor:
        yield cursor
        own.rollback()


@relied_upon("mysqlclient asks for CLIENT.MULTI_STATEMENTS, unless multi_statements=False is given.")
def test_the_driver_sends_several_statements_by_default(counting: None) -> None:
    parameters = connection.get_connection_params()
    parameters.pop("multi_statements", None)
    with MySQLdb.connect(**parameters) as default:
        assert default.client_flag & CLIENT.MULTI_STATEMENTS
        with default.cursor() as cursor:
            cursor.execute("DO 0; SELECT 1")
    with (
        MySQLdb.connect(**parameters, multi_statements=False) as single,
        single.cursor() as cursor,
        pytest.raises(MySQLdb.ProgrammingError, match="1064"),
    ):
        cursor.execute("DO 0; SELECT 1")


@relied_upon(
    "execute() takes bytes; nextset() goes to the next statement's result: 1, and None past the last."
)
def test_the_driver_goes_through_the_results_of_a_packet(driver: Cursor) -> None:
    packet = "; ".join(["BEGIN", INSERT.format("one", 1), "UPDATE tally SET value = 7", "SELECT 5"])
    driver.execute(packet.encode())
    assert driver.rowcount == 0
    assert [driver.nextset(), driver.rowcount] == [1, 1]
    assert [driver.nextset(), driver.rowcount] == [1, 2]
    assert [driver.nextset(), driver.fetchall(), driver.rowcount] == [1, ((5,),), 1]
    assert driver.nextset() is None


@relied_upon("An error of a statement in the middle of a packet is raised by nextset(), and ends the packet.")
def test_the_driver_tells_which_statement_failed(driver: Cursor) -> None:
    packet = "; ".join(["BEGIN", INSERT.format(tally.TAKEN, 1), INSERT.format("two", 2), "COMMIT"])
    driver.execute(packet.encode())
    with pytest.raises(MySQLdb.IntegrityError):
        driver.nextset()
    driver.execute("SELECT name FROM tally_entry")
    assert driver.fetchall() == ((tally.TAKEN,),)


@relied_upon(
    "_mogrify() gives bytes, puts in escaped values, and leaves a statement without values as it is."
)
def test_the_driver_makes_a_statement_of_its_values(driver: Cursor) -> None:
    assert driver._mogrify("SELECT 100 %") == b"SELECT 100 %"
    assert driver._mogrify("SELECT %s, %s", ["a'b", None]) == b"SELECT 'a\\'b', NULL"
    assert driver._mogrify("SELECT %(v0)s", {"v0": "50 %"}) == b"SELECT '50 %'"
    assert driver.mogrify("SELECT %s", ["é"]).encode() == driver._mogrify("SELECT %s", ["é"])


@relied_upon("_executed is the last statement, which nextset() and last_executed_query() read.")
def test_the_driver_remembers_what_was_executed(driver: Cursor) -> None:
    assert driver._executed is None
    driver.execute("SELECT 1")
    assert driver._executed == b"SELECT 1"


@relied_upon("executemany() sends what it makes by execute().")
def test_the_driver_sends_many_rows_by_execute(driver: Cursor, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    execute = Cursor.execute
    monkeypatch.setattr(
        Cursor, "execute", lambda self, query, args=None: sent.append(query) or execute(self, query, args)
    )
    driver.executemany("INSERT INTO tally_entry VALUES (%s, %s)", [("one", 1), ("two", 2)])
    driver.executemany("UPDATE tally SET value = %s WHERE id = %s", [(1, 1), (2, 2)])
    assert len(sent) == 3 and sent[0].count(b"(") == 2


@relied_upon("Closing a cursor takes what is left of its results, so that the next packet begins clean.")
def test_the_driver_leaves_no_results_behind(driver: Cursor) -> None:
    with driver.connection.cursor(Cursor) as other:
        other.execute("SELECT 1; SELECT 2; SELECT 3")
    driver.execute("SELECT 4")
    assert driver.fetchall() == ((4,),)


def test_a_change_names_the_versions_and_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BaseDatabaseWrapper, "_savepoint_rollback")
    with pytest.raises(AssertionError) as failure:
        test_the_overridden_methods_of_connections_are_there(pipelined.DatabaseWrapper)
    for part in (
        "Django 5.2.19 and mysqlclient 2.3.1",
        "shop/db/mysql/pipelined/base.py",
        "the same parameters",
    ):
        assert part in str(failure.value)
    assert "Django has no _savepoint_rollback" in str(failure.value.__cause__)
