"""State gauges: read from the database, Redis and the broker when metrics are scraped. They are the same for
all processes. Each app registers its gauges in its `ready`.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shop.observability import reading
from shop.observability.reading import Job, Source

CACHE_SECONDS = 5.0
EVERYTHING = frozenset(Source)
OF_PROCESS = frozenset({Source.PROCESS})
"""What a process exposes that reads no system."""
NONE: Mapping[str, Any] = {}
Value = float | Mapping[Any, float] | None


class _Gauge(NamedTuple):
    help: str
    label: str
    job: Job
    otherwise: Value


_gauges: dict[str, _Gauge] = {}
_mutex = threading.Lock()
_cached: dict[frozenset[Source], tuple[float, bytes]] = {}


def register(
    name: str,
    *,
    help: str,
    read: Callable[[], Value],
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
    read: Callable[[], Mapping[str, Value]],
    *,
    label: str = "",
    source: Source = Source.DATABASE,
    otherwise: Mapping[str, Value] = NONE,
) -> None:
    """Expose several gauges, by name with their help, that one call of `read` returns by name.

    `name` is the group's, for `firstcome_gauge_failures_total`.
    """
    job = Job(name, source, read)
    for gauge, help in helps.items():
        _gauges[gauge] = _Gauge(help, label, job, otherwise.get(gauge))


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
        chosen = {name: gauge for name, gauge in _gauges.items() if gauge.job.source in self._sources}
        results = reading.read_all({gauge.job.name: gauge.job for gauge in chosen.values()}.values())
        for name, gauge in chosen.items():
            result = results.get(gauge.job.name)
            value = gauge.otherwise if result is None else result.get(name)
            if isinstance(value, Mapping):
                family = GaugeMetricFamily(name, gauge.help, labels=[gauge.label])
                for of, number in value.items():
                    family.add_metric([of], number)
                yield family
            elif value is not None:
                yield GaugeMetricFamily(name, gauge.help, value=value)
