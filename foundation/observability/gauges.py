"""State gauges: read from the database, Redis and the broker when metrics are scraped. They are the same for
all processes. Each app registers its gauges in its `ready`.

These systems may hang: one that does not answer, or takes longer than `SOURCE_SECONDS` in all, is not asked
for what is left.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections
from prometheus_client import Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from structlog import get_logger

T = TypeVar("T")
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
CACHE_SECONDS = 5.0


class Source(Enum):
    """What gauges are read from. Those of `PROCESS` are variables of this process, and wait for nothing."""

    PROCESS = "process"
    DATABASE = "database"
    REDIS = "redis"
    BROKER = "broker"


EVERYTHING = frozenset(Source)
OF_PROCESS = frozenset({Source.PROCESS})
"""What a process exposes that reads no system."""
NONE: Mapping[str, Any] = {}
Value = float | Mapping[Any, float] | None
Values = Mapping[str, Value]
Readings = dict[str, dict[str, float]]
"""Of several gauges with a label: their values by it."""


class _Group(NamedTuple):
    helps: Mapping[str, str]
    read: Callable[[], Values]
    label: str
    source: Source
    otherwise: Values


_groups: dict[str, _Group] = {}
_mutex = threading.Lock()
_cached: dict[frozenset[Source], tuple[float, bytes]] = {}


def register(
    name: str,
    help: str,
    read: Callable[[], Value],
    *,
    label: str = "",
    source: Source = Source.DATABASE,
    otherwise: Value = None,
) -> None:
    """Expose this gauge from now on.

    `read` is called at most once in `CACHE_SECONDS`; None leaves the gauge out. With a `label` it returns a
    number for each of the label's values. `otherwise` is exposed when it raises or takes too long.
    """
    register_group(
        name, {name: help}, lambda: {name: read()}, label=label, source=source, otherwise={name: otherwise}
    )


def register_group(
    name: str,
    helps: Mapping[str, str],
    read: Callable[[], Values],
    *,
    label: str = "",
    source: Source = Source.DATABASE,
    otherwise: Values = NONE,
) -> None:
    """Expose several gauges, by name with their help, that one call of `read` returns by name.

    `name` is the group's, for `firstcome_gauge_failures_total`.
    """
    _groups[name] = _Group(helps, read, label, source, otherwise)


def exposition(sources: Collection[Source] = EVERYTHING) -> bytes:
    """The gauges of these sources in Prometheus' text format, without those that can't be read in time."""
    return generate_latest(_GaugeCollector(sources))


def cached_exposition(sources: frozenset[Source]) -> bytes:
    """`exposition`, at most `CACHE_SECONDS` old: several Prometheus servers cost no more than one."""
    with _mutex:
        read_at, text = _cached.get(sources, (float("-inf"), b""))
        if time.monotonic() - read_at >= CACHE_SECONDS:
            text = exposition(sources)
            _cached[sources] = time.monotonic(), text
        return text


class _GaugeCollector(Collector):
    def __init__(self, sources: Collection[Source]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for source in self._sources:
            groups = {name: group for name, group in _groups.items() if group.source is source}
            found = read_all(source, {name: group.read for name, group in groups.items()})
            for name, group in groups.items():
                for gauge, help in group.helps.items():
                    value = found.get(name, group.otherwise).get(gauge)
                    if isinstance(value, Mapping):
                        family = GaugeMetricFamily(gauge, help, labels=[group.label])
                        for of, number in value.items():
                            family.add_metric([of], number)
                        yield family
                    elif value is not None:
                        yield GaugeMetricFamily(gauge, help, value=value)


def read_all(source: Source, readers: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """What each reader of this source returns, by name; without those that fail, or come too late."""
    results: dict[str, T] = {}
    left = deque(readers.items())
    give_up_at = time.monotonic() + SOURCE_SECONDS
    try:
        with _limited_statements() if left and source is Source.DATABASE else nullcontext():
            while left and time.monotonic() < give_up_at:
                name, read = left.popleft()
                try:
                    results[name] = read()
                except Exception as error:
                    _note_failure(name, error)
                    if isinstance(error, OperationalError | InterfaceError) and (
                        not error.args or error.args[0] not in STATEMENT_ENDED
                    ):
                        # The readers behind it would wait for the same server.
                        break
    except Error as error:
        log.warning("the database can't be read for metrics", error=error)
    for name, _ in left:
        _note_failure(name, "its system does not answer in time")
    return results


def _note_failure(name: str, error: object) -> None:
    log.warning("a gauge can't be read", gauge=name, error=error)
    FAILURES.labels(name).inc()


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
