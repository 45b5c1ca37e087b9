"""Load by k6, and the figures of it."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts import children
from scripts.instance import Instance
from scripts.places import PROJECT
from scripts.setup_error import SetupError

VUS = 100
"""Buyers at once, each with one request under way at any time."""
GRACE_SECONDS = 60
"""What k6 gets on top of its time: to start, to let the last requests end, and to write its figures."""
TICK_SECONDS = 0.5
SPARING = {"GOGC": "400"}
"""k6 shares the cores with what it measures: let it collect garbage less often, for memory there is."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run of k6 measured.

    `statuses` counts the errors by their status, `overloaded` those of them that are 503 `overloaded`, where
    the load allows for them; `k6_cores` is the processor time a second that the load itself took;
    `microseconds` of processor a request by process, where that was looked at.
    """

    seconds: float
    requests: int
    errors: int
    statuses: Mapping[str, int]
    p50_ms: float
    p95_ms: float
    max_ms: float
    k6_cores: float
    overloaded: int = 0
    microseconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def succeeded(self) -> int:
        return self.requests - self.errors

    @property
    def per_second(self) -> float:
        """How many requests a second got the answer they asked for."""
        return self.succeeded / self.seconds


def run(script: str, *, instance: Instance, seconds: int, **settings: object) -> Figures:
    """Run `k6/<script>.js` against the instance. Raises SetupError with the end of its log when it fails."""
    given = {"SECONDS": seconds, "VUS": VUS, **settings}
    measured, took = measure(script, given, instance=instance, within_seconds=seconds + GRACE_SECONDS)
    return Figures(**measured, k6_cores=took / measured["seconds"])


def measure(
    script: str,
    settings: Mapping[str, object],
    *,
    instance: Instance,
    within_seconds: float,
    tick: Callable[[], object] = lambda: None,
) -> tuple[Any, float]:
    """What `k6/<script>.js` wrote into the file `SUMMARY`, and the processor time that k6 took.

    Calls `tick` twice a second meanwhile. Raises SetupError with the end of k6's log when it fails.
    """
    name = script.replace("/", "-")
    summary, log = instance.home / f"{name}.json", instance.logs / "k6.log"
    summary.unlink(missing_ok=True)
    environment = {"URL": instance.url, "SUMMARY": summary, **settings}
    before = _seconds_of_children()
    texts = SPARING | {key: str(value) for key, value in environment.items()}
    code = _k6(script, texts, log, within_seconds, tick)
    if code != 0 or not summary.exists():
        raise SetupError(
            f"k6/{script}.js ended with exit code {code}; the end of {log}:\n{children.tail(log)}"
        )
    return json.loads(summary.read_text()), _seconds_of_children() - before


def _k6(
    script: str, settings: dict[str, str], log: Path, within_seconds: float, tick: Callable[[], object]
) -> int | None:
    """The exit code; None when it had to be ended."""
    # No usage report and no server of its own: the load goes to loopback and nothing else anywhere.
    words = ["run", "--quiet", "--no-color", "--no-usage-report", "--address", ""]
    command = [str(Path(sys.executable).parent / "k6"), *words, str(PROJECT / "k6" / f"{script}.js")]
    child = children.start(command, log=log, environment=os.environ | settings)
    deadline = time.monotonic() + within_seconds
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(timeout=TICK_SECONDS)
            tick()
        return None
    finally:
        children.stop(child)


def _seconds_of_children() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
