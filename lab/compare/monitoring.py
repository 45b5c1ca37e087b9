"""Prometheus beside a ramp, with an exporter of what no other one has: processor time by process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lab.bench import watching
from scripts.stack import ports
from scripts.stack.instance import Instance
from scripts.stack.programs import exporters, prometheus
from scripts.stack.programs.prometheus import Prometheus

PROCESSES = {
    **{name: [name] for name in watching.PROCESSES},
    "simulators": ["gateway", "sink", "partner"],
    "beat and issuer": ["beat", "issuer"],
}
MACHINE = "the machine"
HELP = "Of the stack that the lab measures."


@contextmanager
def beside(instance: Instance) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the shop's processes, its servers and the lab's exporter every second."""
    # In a folder of its own: series of the ramp before would be taken for those of this one.
    with TemporaryDirectory(prefix="prometheus-", dir=instance.home) as made:
        folder = Path(made)
        with exporters.running(instance, folder) as servers, _exporter(instance) as address:
            targets = {**instance.metrics_targets(), **servers, "lab": [address]}
            with prometheus.running(folder, targets=targets) as server:
                yield server


@contextmanager
def _exporter(instance: Instance) -> Iterator[str]:
    """Expose processor time while the block runs; yields `host:port`."""
    registry = CollectorRegistry()
    registry.register(_ProcessorCollector(instance))
    server, thread = start_http_server(0, addr=ports.HOST, registry=registry)
    try:
        yield f"{ports.HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _ProcessorCollector(Collector):
    """Asks the kernel at each scrape."""

    def __init__(self, instance: Instance) -> None:
        # Looked up once: finding them means to read all processes of the machine.
        self._pids = {
            name: set().union(*(watching.processes(instance, process) for process in processes))
            for name, processes in PROCESSES.items()
        }

    def describe(self) -> list[Metric]:
        return []  # else the registry would collect once to find the names

    def collect(self) -> Iterator[Metric]:
        seconds = GaugeMetricFamily("lab_processor_seconds", HELP, labels=["process"])
        for name, pids in self._pids.items():
            seconds.add_metric([name], sum(map(watching.processor_seconds, pids)))
        seconds.add_metric([MACHINE], _busy_seconds())
        yield seconds
        # The first of web starts the others, and serves nothing.
        counts = {name: len(pids) - (name == "web") for name, pids in self._pids.items()}
        processes = GaugeMetricFamily("lab_processes", HELP, labels=["process"])
        for name, count in counts.items():
            processes.add_metric([name], count)
        yield processes


def _busy_seconds() -> float:
    """Seconds that the machine's processors have worked since its start, for whatever program."""
    user, nice, system, _idle, _waiting, *others = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(others)) / watching.TICKS
