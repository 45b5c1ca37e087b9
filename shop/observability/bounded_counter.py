"""Counters with a label of many values, such as campaigns: a process counts few of them by themselves.

Each is a time series in Prometheus for as long as it keeps data.
"""

from collections.abc import Sequence

from prometheus_client import Counter

MAX_VALUES = 500
"""Values of a label that a process counts by themselves."""
KEPT_VALUES = 250
"""Of them, those that a counter with `keeps_values` leaves to values that `keep` was called with."""
OTHER = "other"


class BoundedCounter:
    """A counter with a label of many values; values past `MAX_VALUES` are counted as `other`.

    Counting costs a look-up once a value is known, and never raises or queries.
    """

    def __init__(
        self, name: str, help: str, label: str, labels: Sequence[str] = (), *, keeps_values: bool = False
    ) -> None:
        """`label` is the one with many values, `labels` are others, with a few values each.

        With `keeps_values` half of the values are for those of `keep`: callers could fill all of them.
        """
        self._most = MAX_VALUES - KEPT_VALUES if keeps_values else MAX_VALUES
        self._kept: set[str] = set()
        self._counter = Counter(name, help, [label, *labels])
        self._values: set[str] = set()
        self._children: dict[tuple[object, ...], Counter] = {}

    def inc(self, value: object, *others: str, amount: float = 1) -> None:
        """Count `amount` for this value of the label, and the values of the other labels in their order."""
        child = self._children.get((value, *others))
        if child is None:
            label = str(value)
            if label not in self._values:
                # The kept ones that are not counted yet have room.
                if label in self._kept or len(self._values - self._kept) < self._most:
                    self._values.add(label)
                else:
                    label = OTHER
            child = self._counter.labels(label, *others)
            if label != OTHER:
                self._children[value, *others] = child
        child.inc(amount)

    def keep(self, value: object) -> None:
        """Count this value by itself from now on, if fewer than `KEPT_VALUES` have come before it."""
        if len(self._kept) < KEPT_VALUES:
            self._kept.add(str(value))

    def has(self, value: object) -> bool:
        return str(value) in self._values
