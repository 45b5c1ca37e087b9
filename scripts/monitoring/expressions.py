"""PromQL expressions built from the metrics that exist: an unknown metric or label is refused by its name.

`where` and `unless` match labels by regular expressions, which have to match a label's whole value.
Grafana replaces `$__rate_interval` and the dashboard's variables before it sends an expression.
"""

from collections.abc import Mapping
from functools import cache

import yaml

from scripts.stack import places
from shop.observability import catalogue

RECORDING_RULES = places.PROJECT / "ops" / "prometheus" / "recording.yml"
OF_SCRAPES = ("instance", "job")
"""The labels that Prometheus gives to everything it scrapes."""
OF_OTHERS: dict[str, tuple[str, ...]] = {
    "up": (),
    "mysql_global_status_queries": (),
    "mysql_global_status_threads_connected": (),
    "mysql_global_status_threads_running": (),
    "mysql_global_variables_max_connections": (),
    "mysql_global_status_innodb_buffer_pool_reads": (),
    "mysql_global_status_innodb_buffer_pool_read_requests": (),
    "mysql_global_status_buffer_pool_dirty_pages": (),
    "mysql_global_status_buffer_pool_pages": ("state",),
    "mysql_global_status_innodb_row_lock_waits": (),
    "mysql_global_status_innodb_row_lock_time": (),
    "mysql_global_status_innodb_deadlocks": (),
    "mysql_info_schema_innodb_metrics_lock_lock_deadlocks_total": (),
    "mysql_slave_status_seconds_behind_master": (),
    "mysql_slave_status_seconds_behind_source": (),
    "mysql_global_status_innodb_data_fsyncs": (),
    "mysql_global_status_innodb_os_log_written": (),
    "redis_commands_processed_total": (),
    "redis_connected_clients": (),
    "redis_blocked_clients": (),
    "redis_memory_used_bytes": (),
    "redis_memory_max_bytes": (),
}
"""Metrics of Prometheus itself and of the exporters of MySQL and Redis, with their labels."""
RATE = "$__rate_interval"
Matchers = Mapping[str, str]
NOTHING: Matchers = {}


class UnknownMetric(Exception):
    """A dashboard names a metric, a label or a recording rule that does not exist."""


def rate(name: str, *by: str, where: Matchers = NOTHING, unless: Matchers = NOTHING, over: str = RATE) -> str:
    """How often a second the counter increases, summed over all processes."""
    return _sum(by, f"rate({select(name, 'counter', by, where, unless)}[{over}])")


def increase(
    name: str, *by: str, where: Matchers = NOTHING, unless: Matchers = NOTHING, over: str = RATE
) -> str:
    """By how much the counter increases in that time, summed over all processes."""
    return _sum(by, f"increase({select(name, 'counter', by, where, unless)}[{over}])")


def quantile(share: float, name: str, *by: str, where: Matchers = NOTHING, over: str = RATE) -> str:
    """What this share of the histogram's observations is at most."""
    selected = select(name, "histogram", by, where, suffix="_bucket")
    return f"histogram_quantile({share}, {_sum(('le', *by), f'rate({selected}[{over}])')})"


def mean(name: str, *by: str, where: Matchers = NOTHING, over: str = RATE) -> str:
    """The mean of the histogram's observations."""
    total, count = (
        _sum(by, f"rate({select(name, 'histogram', by, where, suffix=suffix)}[{over}])")
        for suffix in ("_sum", "_count")
    )
    return f"{total} / {count}"


def observations(name: str, *by: str, where: Matchers = NOTHING, over: str = RATE) -> str:
    """How many observations of the histogram there are a second."""
    return _sum(by, f"rate({select(name, 'histogram', by, where, suffix='_count')}[{over}])")


def total(name: str, *by: str, where: Matchers = NOTHING) -> str:
    """The sum of a gauge that each process has its own value of."""
    return _sum(by, select(name, "gauge", by, where))


def highest(name: str, *by: str, where: Matchers = NOTHING) -> str:
    """The highest of a gauge that each process has its own value of."""
    return f"max by ({', '.join(by)}) ({select(name, 'gauge', by, where)})"


def state(name: str, where: Matchers = NOTHING) -> str:
    """A gauge of the shop's state, which several processes report alike."""
    return f"max without (instance, job) ({select(name, 'gauge', (), where)})"


def worst(name: str, where: Matchers = NOTHING) -> str:
    """A gauge that is 1 while all is well: 0 if any of the processes that report it says so."""
    return f"min without (instance, job) ({select(name, 'gauge', (), where)})"


def state_counter(name: str, where: Matchers = NOTHING, over: str = RATE) -> str:
    """How often a second a counter increases that several processes read from the same server."""
    return f"max without (instance, job) (rate({select(name, 'counter', (), where)}[{over}]))"


def recorded(name: str, where: Matchers = NOTHING) -> str:
    """The result of a recording rule of ops/prometheus/recording.yml."""
    if name not in _recording_rules():
        raise UnknownMetric(f"no recording rule is called {name}")
    return name + _braces(where, NOTHING)


def select(
    name: str,
    kind: str,
    by: tuple[str, ...] = (),
    where: Matchers = NOTHING,
    unless: Matchers = NOTHING,
    *,
    suffix: str = "",
) -> str:
    """The selector of a metric of that kind. Raises UnknownMetric naming what does not exist."""
    labels = () if name in _recording_rules() else OF_OTHERS.get(name)
    if labels is None:
        definition = catalogue.definitions().get(name)
        if definition is None:
            raise UnknownMetric(f"no metric is called {name}")
        if definition.kind != kind:
            raise UnknownMetric(f"{name} is a {definition.kind} and no {kind}")
        labels = tuple(definition.labels)
    for label in (*by, *where, *unless):
        if label not in (*labels, *OF_SCRAPES):
            raise UnknownMetric(f"{name} has no label {label}: it has {', '.join(labels) or 'none'}")
    return name + suffix + _braces(where, unless)


def _sum(by: tuple[str, ...], expression: str) -> str:
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def _braces(where: Matchers, unless: Matchers) -> str:
    matchers = [f'{label}=~"{value}"' for label, value in where.items()]
    matchers += [f'{label}!~"{value}"' for label, value in unless.items()]
    return f"{{{', '.join(matchers)}}}" if matchers else ""


@cache
def _recording_rules() -> frozenset[str]:
    groups = yaml.safe_load(RECORDING_RULES.read_text())["groups"]
    return frozenset(rule["record"] for group in groups for rule in group["rules"] if "record" in rule)
