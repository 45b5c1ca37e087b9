"""Longer and shorter timeouts for statements that no request waits for."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

LONG_READ_TIMEOUT_SECONDS = 3_600
"""For one statement: on big tables and a busy machine it can take minutes."""
STATEMENT_ENDED = {(1969,), (3024,)}
"""The errors of MariaDB and MySQL."""
# Each of the two takes the other's way for a comment.
LIMITED = (
    "/*M! SET STATEMENT max_statement_time = {seconds:f} FOR */ SELECT /*+ MAX_EXECUTION_TIME({ms:.0f}) */"
)


@contextmanager
def long_read_timeout(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Allow statements that take longer than the read timeout of requests, on a new connection."""
    if connection.vendor != "mysql" or connection.in_atomic_block:
        yield
        return
    options = connection.settings_dict["OPTIONS"]
    usual = options.get("read_timeout")
    connection.close()
    try:
        options["read_timeout"] = LONG_READ_TIMEOUT_SECONDS
        yield
    finally:
        connection.close()
        options["read_timeout"] = usual


def limited(select: str, *, seconds: float) -> str:
    """This SELECT, which the server ends if it takes longer: see `is_statement_ended`."""
    return LIMITED.format(seconds=seconds, ms=1000 * seconds) + select.removeprefix("SELECT")


def is_statement_ended(error: BaseException) -> bool:
    """Whether the statement took longer than its limit; the connection is as good as before."""
    return isinstance(error, OperationalError) and error.args[:1] in STATEMENT_ENDED


@contextmanager
def statement_limit(connection: BaseDatabaseWrapper, *, seconds: int) -> Iterator[None]:
    """Have the server end each SELECT of this thread that takes longer: see `is_statement_ended`.

    Also after the connection was lost and opened again. Outside a transaction it raises nothing of its own.
    """
    if connection.vendor != "mysql":
        yield
        return
    is_mariadb = getattr(connection, "mysql_is_mariadb", False)
    variable, limit = (
        ("max_statement_time", seconds) if is_mariadb else ("max_execution_time", seconds * 1000)
    )
    usual = connection.settings_dict
    begin = usual["OPTIONS"].get("init_command")
    begin = f"{begin}, SESSION" if begin else "SET SESSION"
    # A copy: all connections of the process share these settings.
    options = usual["OPTIONS"] | {"init_command": f"{begin} {variable} = {limit:d}"}
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {variable} = %s", [limit])
    except Error:
        if connection.in_atomic_block:
            raise
        # The next one begins with the limit, and the block's first statement meets what is wrong.
        connection.close()
    connection.settings_dict = usual | {"OPTIONS": options}
    try:
        yield
    finally:
        connection.settings_dict = usual
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {variable} = DEFAULT")
