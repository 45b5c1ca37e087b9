"""The metrics that this process exposes, in Prometheus' text format."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shop.observability import ended_processes, gauges, process_metrics, top
from shop.observability.reading import Source

__all__ = ["CONTENT_TYPE_LATEST", "exposition"]


def exposition(sources: frozenset[Source]) -> bytes:
    """What this process has counted, with all processes of its folder, and the gauges of these sources.

    Takes some seconds at most, whatever the systems that it reads do.
    """
    process_metrics.sample()
    registry = CollectorRegistry()
    registry.register(_Counted())
    return generate_latest(registry) + gauges.cached_exposition(sources)


class _Counted(Collector):
    """The families of this process, or of all processes that share its folder."""

    def collect(self) -> Iterator[Metric]:
        return map(top.limited, _read_all() if ended_processes.FOLDER in os.environ else REGISTRY.collect())


def _read_all() -> list[Metric]:
    """The families of all processes; the files of one that has ended are not merged meanwhile."""
    with ended_processes.locked(Path(os.environ[ended_processes.FOLDER]), fcntl.LOCK_SH):
        return list(MultiProcessCollector(None).collect())
