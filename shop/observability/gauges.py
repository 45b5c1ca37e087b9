"""Gauges that are read from the database when metrics are scraped, by the process that is scraped.

Counters of several processes are summed; the database's state is the same for all of them, so these gauges
don't use the processes' shared files. Each app registers its gauges in its `ready`.
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
    """Expose this gauge from now on. `read` is called at each scrape; None leaves the gauge out.

    With a `label`, `read` returns a number for each of the label's values.
    """
    _gauges[name] = help, label, read


def exposition() -> bytes:
    """All gauges in Prometheus' text format, without those that can't be read."""
    registry = CollectorRegistry()
    registry.register(_GaugeCollector())
    return generate_latest(registry)


class _GaugeCollector(Collector):
    """Collects the values of all gauges once."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, (help, label, read) in _gauges.items():
            try:
                reading = read()
            except Error as error:
                # The other gauges would wait for the same database, for longer than a scrape's timeout.
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
