"""Turns the counting of metrics off in the processes of a stack that has this folder on its PYTHONPATH.

For `scripts.bench.costs.metrics_cost` alone. The calls stay and do nothing, so their own cost, some tenths of
a microsecond each, is on both sides of the comparison.
"""

from contextlib import suppress

# The Python that makes the environment has no packages.
with suppress(ImportError):
    from prometheus_client import Counter, Gauge, Histogram

    for kind, methods in ((Counter, ("inc",)), (Gauge, ("inc", "dec", "set")), (Histogram, ("observe",))):
        for method in methods:
            setattr(kind, method, lambda *arguments, **named: None)
