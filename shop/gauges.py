"""Gauges that are read when somebody looks: what the database says, told by whichever process is asked.

Counters of several processes are added up; what stands in the database is one thing for all of them, so
these never go through the processes' shared files. Each app registers its own in its `ready`.
"""

from collections.abc import Callable, Iterator

from django.db import Error
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from structlog import get_logger

log = get_logger(__name__)
Read = Callable[[], float | None]
_gauges: dict[str, tuple[str, Read]] = {}


def register(name: str, *, help: str, read: Read) -> None:
    """Tell this gauge from now on. `read` is asked at each look; None means that there is nothing to tell."""
    _gauges[name] = help, read


def exposition() -> bytes:
    """All gauges in Prometheus' text format.

    What can't be read is left out: a gauge that is absent is a gauge that nobody knows.
    """
    registry = CollectorRegistry()
    registry.register(_Reading())
    return generate_latest(registry)


class _Reading(Collector):
    """One reading of all gauges."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, (help, read) in _gauges.items():
            try:
                value = read()
            except Error as error:
                # The others would wait for the same database, longer than anybody waits for metrics.
                log.warning("gauges can't be read: no database", gauge=name, error=str(error))
                return
            if value is not None:
                yield GaugeMetricFamily(name, help, value=value)
