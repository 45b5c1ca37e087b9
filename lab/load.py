"""Load by k6, and the one reader of its figures."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import children
from scripts.stack.instance import Instance
from scripts.stack.places import PROJECT

K6 = [
    str(Path(sys.executable).parent / "k6"),
    "run",
    "--quiet",
    "--no-color",
    # No usage report and no server of its own: the load goes to loopback and nothing else anywhere.
    "--no-usage-report",
    "--address",
    "",
]

Settings = Mapping[str, Any]  # Of a script of k6
Numbers = Mapping[str, float]  # By their names


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One run of k6 in that many seconds: all of its metrics with k6's own sums."""

    metrics: Mapping[str, Numbers]
    seconds: float

    @property
    def requests(self) -> int:
        failed = self.metrics["http_req_failed"]
        return int(failed["passes"] + failed["fails"])

    @property
    def succeeded(self) -> int:
        """Requests with the answer they asked for: a "pass" of this rate is a request that failed."""
        return int(self.metrics["http_req_failed"]["fails"])

    def count(self, name: str) -> int:
        return int(self.metrics.get(name, {}).get("count", 0))

    def counts(self, prefix: str) -> dict[str, int]:
        result = {}
        for name in sorted(self.metrics):
            if name.startswith(prefix) and self.count(name):
                result[name.removeprefix(prefix)] = self.count(name)
        return result

    def number(self, name: str, sum_of: str) -> float:
        return round(self.metrics.get(name, {}).get(sum_of, 0), 1)


def run(script: str, instance: Instance, *, within_seconds: float, **settings: object) -> Figures:
    """Run `k6/<script>.js` against the instance. Raises SetupError with what it printed if it fails."""
    summary = instance.home / f"k6-{Path(script).name}.json"
    summary.unlink(missing_ok=True)
    # k6 shares the processors with the stack: it collects garbage less often and takes memory instead.
    given = {"SHOP": instance.url, "GOGC": 400, **settings}
    environment = os.environ | {name: str(value) for name, value in given.items()}
    words = [*K6, "--summary-export", str(summary), f"{PROJECT}/k6/{script}.js"]
    children.printed(children.run(words, within_seconds=within_seconds, environment=environment))
    metrics = json.loads(summary.read_text())["metrics"]
    # k6 has the time of the whole run in its rates alone.
    requests = metrics["http_reqs"]
    return Figures(metrics=metrics, seconds=ratio(requests["count"], requests["rate"]))


def ratio(number: float, of: float) -> float:
    if of:
        return number / of
    return 0
