"""The cost of metrics: a stack can be started without counting, and rounds are summed up."""

import os
import subprocess
import sys

from scripts.bench.costs import metrics_cost
from scripts.stack import places

COUNTED = """
from prometheus_client import Counter, Gauge, Histogram, generate_latest
Counter("a", "a", ["of"]).labels("x").inc()
Gauge("b", "b").set(2)
Histogram("c", "c").observe(3)
print(generate_latest().decode())
"""


def test_a_process_counts_nothing_with_the_settings_of_the_silent_stack() -> None:
    counting, silent = (
        subprocess.run(
            [sys.executable, "-c", COUNTED],
            env=os.environ | metrics_cost.SETTINGS[name],
            capture_output=True,
            text=True,
            check=True,
            cwd=places.PROJECT,
        ).stdout
        for name in (metrics_cost.COUNTING, metrics_cost.SILENT)
    )
    for line in ('a_total{of="x"} 1.0', "b 2.0", "c_count 1.0"):
        assert line in counting
        assert line.replace("1.0", "0.0").replace("2.0", "0.0") in silent


def test_the_summary_has_the_median_and_the_spread() -> None:
    text = metrics_cost.summary([9, 1, 5, 40, -3, 7, 6, 8], commit="abc1234")
    assert "cost 6.5 µs" in text
    assert "8 rounds from -3.0 to 40.0, the middle half from 5.0 to 8.0" in text
    assert "abc1234" in text
