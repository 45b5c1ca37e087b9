"""Counters with a label of many values, such as campaigns: a process counts few of them by themselves.

Each is a time series in Prometheus for as long as it keeps data.
"""

from collections.abc import Sequence

from prometheus_client import Counter

MAX_VALUES = 500
"""Values of a label that a process counts by themselves."""
OTHER = "other"


class BoundedCounter:
    """A counter with a label of many values; values past `MAX_VALUES` are counted as `other`.

    Counting costs a look-up once a value is known, and never raises or queries.
    """

    def __init__(self, name: str, help: str, label: str, labels: Sequence[str] = ()) -> None:
        """`label` is the one with many values, `labels` are others, with a few values each."""
        self._counter = Counter(name, help, [label, *labels])
        self._values: set[str] = set()
        self._children: dict[tuple[object, ...], Counter] = {}

    def inc(self, value: object, *others: str, amount: float = 1) -> None:
        """Count `amount` for this value of the label, and the values of the other labels in their order."""
        child = self._children.get((value, *others))
        if child is None:
            label = str(value)
            if label in self._values or len(self._values) < MAX_VALUES:
                self._values.add(label)
                child = self._children[value, *others] = self._counter.labels(label, *others)
            else:
                child = self._counter.labels(OTHER, *others)
        child.inc(amount)

    def has(self, value: object) -> bool:
        return str(value) in self._values
