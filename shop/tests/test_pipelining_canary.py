"""What `shop/db/mysql/pipelined/base.py` relies on in Django and mysqlclient beyond their public interfaces.

Each test fails when such a hook changes its name, its parameters, or what the backend needs of its behaviour;
the message says with which versions it was right, and what to look at. `DATABASE_PIPELINING=0` turns all of
this off meanwhile.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import pytest
from django.db.backends.mysql import base as django_mysql
from django.db.backends.utils import debug_transaction
from MySQLdb.cursors import Cursor

from shop.db.mysql import base as watched
from shop.db.mysql.pipelined import base as pipelined

TESTED = {"Django": "5.2.19", "mysqlclient": "2.3.1"}
OWN = {"execute_deferred", "_send_commit"}
# `BaseDatabaseWrapper.set_autocommit` calls it where a backend has it; SQLite's has.
CALLED_IF_THERE = {"_start_transaction_under_autocommit"}


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
