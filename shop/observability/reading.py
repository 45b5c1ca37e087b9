"""Reading the state of systems that may hang, in a bounded time, for a scrape of the metrics.

A system that does not answer, or takes longer than `SOURCE_SECONDS` in all, is not asked for what is left.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections
from prometheus_client import Counter
from structlog import get_logger

log = get_logger(__name__)
STATEMENT_SECONDS = 1
SOURCE_SECONDS = 3.0
HUNG_SECONDS = 2
"""The client library counts whole seconds, and the server needs a moment to end a statement."""
STATEMENT_ENDED = {1969, 3024}
"""The errors of MariaDB and MySQL for a statement that took too long: the connection is as good as before."""
FAILURES = Counter(
    "firstcome_gauge_failures", "Readings of a gauge that failed, or took too long.", ["gauge"]
)


class Source(Enum):
    """What a job reads. Jobs of `PROCESS` read variables of this process, and wait for nothing."""

    PROCESS = "process"
    DATABASE = "database"
    REDIS = "redis"
    BROKER = "broker"


class Job(NamedTuple):
    name: str
    source: Source
    read: Callable[[], Any]


def read_all(jobs: Collection[Job]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for source in Source:
        results |= _read_source(source, deque(job for job in jobs if job.source is source))
    return results


def _read_source(source: Source, left: deque[Job]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    give_up_at = time.monotonic() + SOURCE_SECONDS
    try:
        with _limited_statements() if left and source is Source.DATABASE else nullcontext():
            while left and time.monotonic() < give_up_at:
                job = left.popleft()
                try:
                    results[job.name] = job.read()
                except Exception as error:
                    _note_failure(job, error)
                    if isinstance(error, OperationalError | InterfaceError) and (
                        not error.args or error.args[0] not in STATEMENT_ENDED
                    ):
                        # The jobs behind it would wait for the same server.
                        break
    except Error as error:
        log.warning("the database can't be read for metrics", error=str(error)[:200])
    for job in left:
        _note_failure(job, "its system does not answer in time")
    return results


def _note_failure(job: Job, error: object) -> None:
    log.warning("a gauge can't be read", gauge=job.name, error=str(error)[:200])
    FAILURES.labels(job.name).inc()


@contextmanager
def _limited_statements() -> Iterator[None]:
    """Have this thread read the database by a connection with these limits, unless in a transaction."""
    usual = connections[DEFAULT_DB_ALIAS]
    if usual.vendor != "mysql" or usual.in_atomic_block:
        yield
        return
    own: Any = connections.create_connection(DEFAULT_DB_ALIAS)
    # A copy: all connections of the process share these settings.
    options = own.settings_dict["OPTIONS"] | {"read_timeout": HUNG_SECONDS}
    own.settings_dict = own.settings_dict | {"OPTIONS": options}
    connections[DEFAULT_DB_ALIAS] = own
    try:
        name, factor = ("max_statement_time", 1) if own.mysql_is_mariadb else ("max_execution_time", 1000)
        with own.cursor() as cursor:
            cursor.execute(f"SET SESSION {name} = %s", [STATEMENT_SECONDS * factor])
        yield
    finally:
        own.close()
        connections[DEFAULT_DB_ALIAS] = usual
