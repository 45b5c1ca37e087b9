"""Load by k6, and the figures of it."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts import children
from scripts.instance import Instance
from scripts.places import PROJECT
from scripts.setup_error import SetupError

VUS = 100
"""Buyers at once, each with one request under way at any time."""
GRACE_SECONDS = 60
"""What k6 gets on top of its time: to start, to let the last requests end, and to write its figures."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run of k6 measured.

    `statuses` counts the errors by their status, `k6_cores` is the processor time a second that the load
    itself took.
    """

    seconds: float
    requests: int
    errors: int
    statuses: Mapping[str, int]
    p50_ms: float
    p95_ms: float
    max_ms: float
    k6_cores: float

    @property
    def succeeded(self) -> int:
        return self.requests - self.errors

    @property
    def per_second(self) -> float:
        """How many requests a second got the answer they asked for."""
        return self.succeeded / self.seconds


def run(script: str, *, instance: Instance, seconds: int, **settings: object) -> Figures:
    """Run `k6/<script>.js` against the instance. Raises SetupError with the end of its log when it fails."""
    summary, log = instance.home / f"{script}.json", instance.logs / "k6.log"
    summary.unlink(missing_ok=True)
    environment = {"URL": instance.url, "SUMMARY": summary, "SECONDS": seconds, "VUS": VUS, **settings}
    before = _seconds_of_children()
    code = _k6(
        script, {name: str(value) for name, value in environment.items()}, log, seconds + GRACE_SECONDS
    )
    if code != 0 or not summary.exists():
        raise SetupError(
            f"k6/{script}.js ended with exit code {code}; the end of {log}:\n{children.tail(log)}"
        )
    measured = json.loads(summary.read_text())
    took = _seconds_of_children() - before
    return Figures(**measured, k6_cores=took / measured["seconds"])


def _k6(script: str, settings: dict[str, str], log: Path, within_seconds: float) -> int | None:
    """The exit code; None when it had to be ended."""
    # No usage report and no server of its own: the load goes to loopback and nothing else anywhere.
    words = ["run", "--quiet", "--no-color", "--no-usage-report", "--address", ""]
    command = [str(Path(sys.executable).parent / "k6"), *words, str(PROJECT / "k6" / f"{script}.js")]
    child = children.start(command, log=log, environment=os.environ | settings)
    try:
        return child.wait(timeout=within_seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        children.stop(child)


def _seconds_of_children() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
