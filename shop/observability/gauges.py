"""Gauges that are read when somebody looks: what the database says, told by whichever process is asked.

Counters of several processes are added up; what stands in the database is one thing for all of them, so
these never go through the processes' shared files. Each app registers its own in its `ready`.
"""

from collections.abc import Callable, Iterator, Mapping

from django.db import Error
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from structlog import get_logger

log = get_logger(__name__)
Value = float | Mapping[str, float] | None
Read = Callable[[], Value]
_gauges: dict[str, tuple[str, str, Read]] = {}


def register(name: str, *, help: str, read: Read, label: str = "") -> None:
    """Tell this gauge from now on. `read` is asked at each look; None means that there is nothing to tell.

    With a `label` it tells a number for each of the label's values.
    """
    _gauges[name] = help, label, read


def exposition() -> bytes:
    """All gauges in Prometheus' text format.

    What can't be read is left out: a gauge that is absent is a gauge that nobody knows.
    """
    registry = CollectorRegistry()
    registry.register(_GaugeCollector())
    return generate_latest(registry)


class _GaugeCollector(Collector):
    """One reading of all gauges."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, (help, label, read) in _gauges.items():
            try:
                reading = read()
            except Error as error:
                # The others would wait for the same database, longer than anybody waits for metrics.
                log.warning("gauges can't be read: no database", gauge=name, error=str(error))
                return
            if reading is not None:
                yield _family(name, help, label, reading)


def _family(name: str, help: str, label: str, reading: float | Mapping[str, float]) -> GaugeMetricFamily:
    if not isinstance(reading, Mapping):
        return GaugeMetricFamily(name, help, value=reading)
    family = GaugeMetricFamily(name, help, labels=[label])
    for value, number in reading.items():
        family.add_metric([value], number)
    return family
