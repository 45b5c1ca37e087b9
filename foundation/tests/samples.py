"""What a test has added to this process's counters, and what its gauges show."""

from prometheus_client import REGISTRY

from foundation.observability import gauges


class Increases:
    """How much the counters of these metrics have grown since it was made, without those that have not."""

    def __init__(self, *names):
        self._names = names
        self._before = _samples(names)

    def __call__(self):
        """The growth by sample, such as `firstcome_orders_total{event="paid"}`."""
        now = _samples(self._names)
        grown = {sample: value - self._before.get(sample, 0.0) for sample, value in now.items()}
        return {sample: value for sample, value in grown.items() if value}


def exposed() -> dict[str, float]:
    """The gauges as a scrape has them, by name and labels."""
    lines = gauges.exposition().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def _samples(names):
    found = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name in names:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
