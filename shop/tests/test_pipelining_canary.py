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

import pytest
from django.db import connection, connections, transaction
from django.db.backends.mysql import base as django_mysql
from django.db.backends.utils import debug_transaction
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
    calls = [*recorded.calls]
    recorded.calls.clear()
    return calls


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
