"""Prometheus and exporters beside a trial, and the proof that every query of every dashboard has data
of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.chaos import dashboard_queries
from lab.chaos.dashboard_queries import PanelQuery, Span
from scripts.stack import places
from scripts.stack.instance import Instance
from scripts.stack.programs import exporters, prometheus
from scripts.stack.programs.prometheus import Prometheus

SCRAPE_SECONDS = 2.0
PATIENCE_SECONDS = 60
"""How long what a sweep or an audit makes may be late."""
RULES = places.PROJECT / "ops" / "prometheus" / "recording.yml"


@contextmanager
def beside(instance: Instance) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the stack, with MariaDB, and its exporters, by the recording rules.
    Raises SetupError."""
    folder = instance.home / "prometheus"
    with exporters.running(instance, folder) as of_servers:
        targets = {**instance.metrics_targets(), **of_servers}
        with prometheus.running(
            folder, targets=targets, rules=[RULES], scrape_seconds=SCRAPE_SECONDS
        ) as found:
            yield found


def empty_queries(found: Prometheus, *, since: float) -> Iterator[str]:
    """Each query of a dashboard that has no data since then (in seconds since 1970). Prints how many have."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for dashboard in dashboard_queries.dashboards():
        empty = _without_data(found, dashboard, since)
        while empty and time.monotonic() < deadline:
            time.sleep(SCRAPE_SECONDS)
            empty = _without_data(found, dashboard, since)
        count = len(list(dashboard_queries.queries(dashboard)))
        says = f"{count - len(empty)} of {count} queries have data"
        print(f"dashboard {dashboard['title']}: {says}", flush=True)
        yield from (f"dashboard query without data: {query}" for query in empty)


def _without_data(found: Prometheus, dashboard: dict[str, Any], since: float) -> list[PanelQuery]:
    span = Span(start=since, end=time.time(), scrape_seconds=SCRAPE_SECONDS)
    return list(dashboard_queries.without_data(found, dashboard, span))
