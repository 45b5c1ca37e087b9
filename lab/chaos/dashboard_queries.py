"""The queries of the dashboards in ops/grafana, as Grafana sends them to Prometheus; and a Prometheus beside
a soak, which has to have data for each."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.stack import prometheus
from lab.stack.prometheus import Prometheus
from scripts.stack import places, waiting
from scripts.stack.children import say
from scripts.stack.instance import Instance

OPS = places.PROJECT / "ops"
SCRAPE_SECONDS, PATIENCE_SECONDS = 2.0, 60
"""Between two scrapes; and how late may be what a sweep or an audit makes."""


def dashboards() -> list[dict[str, Any]]:
    """Every dashboard in the folder."""
    return [json.loads(path.read_text()) for path in sorted((OPS / "grafana/dashboards").glob("*.json"))]


def queries(dashboard: dict[str, Any], seconds: float) -> Iterator[tuple[str, str]]:
    """The title of each panel, with an expression as Grafana sends it to show so long: a value for each
    variable. There is a point at each scrape, as in a panel of usual width of up to 1,000 s."""
    times = {"interval": SCRAPE_SECONDS, "rate_interval": 4 * SCRAPE_SECONDS, "range": seconds}
    values = {f"__{name}": f"{seconds * 1000:.0f}ms" for name, seconds in times.items()}
    values |= {one["name"]: one["allValue"] for one in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], re.sub(r"\$(\w+)", lambda name: values[name[1]], target["expr"])


@contextmanager
def beside(instance: Instance) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the stack, with MariaDB, and its exporters, by the recording rules.
    Raises SetupError."""
    folder, rules = instance.home / "prometheus", [OPS / "prometheus" / "recording.yml"]
    folder.mkdir()
    with prometheus.of_redis(instance, folder) as redis, prometheus.of_mariadb(instance, folder) as mysql:
        targets = instance.metrics_targets() | {"redis": [redis.address], "mysql": [mysql.address]}
        with prometheus.running(folder, targets=targets, rules=rules, scrape_seconds=SCRAPE_SECONDS) as found:
            yield found


def empty_queries(found: Prometheus, since: float) -> Iterator[str]:
    """Each query without a single number since then (in seconds since 1970), and each variable without a
    value to choose, once what comes late is there. Prints how many queries have data."""
    for board in dashboards():

        def look(board: dict[str, Any] = board) -> list[str]:
            now, empty = time.time(), list[str]()
            for panel, expression in queries(board, now - since):
                times = {"start": since, "end": now, "step": SCRAPE_SECONDS}
                series = found.get("query_range", query=expression, **times)["result"]
                # NaN is the quantile of nothing.
                if all(value == "NaN" for one in series for _, value in one["values"]):
                    empty.append(f"{panel}: {expression}")
            for variable in board["templating"]["list"]:
                metric, label = re.findall(r"\w+", variable["definition"])[1:]
                if not found.get(f"label/{label}/values", **{"match[]": metric}):
                    empty.append(f"the variable {variable['name']}: {variable['definition']}")
            return empty

        empty = waiting.left(look, within_seconds=PATIENCE_SECONDS, pause_seconds=SCRAPE_SECONDS)
        count = len(list(queries(board, 1)))
        say(f"dashboard {board['title']}: {count - len(empty)} of {count} queries have data")
        yield from (f"dashboard query without data: {board['title']} / {query}" for query in empty)
