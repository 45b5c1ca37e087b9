"""Prometheus over the cluster, and the exporters of the servers that have no metrics of their own."""

from lab.cluster import credentials, layout, templates
from lab.cluster.layout import Cluster
from scripts.stack import places, system_packages
from scripts.stack.processes import Command

RETENTION = "7d"
COLLECTORS = ("perf_schema.replication_group_members", "perf_schema.replication_group_member_stats")
"""What MySQL's exporter collects beside the usual."""


def prepare(cluster: Cluster) -> None:
    """Write Prometheus' settings, and the token by which the shop's processes show it their metrics."""
    templates.write(cluster.settings / "prometheus.yml", "prometheus.yml", cluster)
    token = credentials.read(cluster)["metrics-token"]
    places.write_whole(cluster.settings / "metrics-token", token, mode=0o600)


def command(cluster: Cluster, kind: str, number: int) -> Command:
    """The command line of Prometheus or of an exporter."""
    if kind == "prometheus":
        return [
            system_packages.program("prometheus"),
            f"--config.file={cluster.settings / 'prometheus.yml'}",
            f"--storage.tsdb.path={cluster.folder('prometheus')}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address={cluster.address('prometheus')}",
            "--log.level=warn",
        ]
    listen = f"--web.listen-address={cluster.address(kind, number)}"
    if kind == "redis-exporter":
        return [system_packages.program("prometheus-redis-exporter"), listen]
    # Tables and statements that a member doesn't have, or that need more rights.
    without = (
        "info_schema.innodb_cmp",
        "info_schema.innodb_cmpmem",
        "info_schema.query_response_time",
        "slave_status",
    )
    options = [*(f"--no-collect.{name}" for name in without), *(f"--collect.{name}" for name in COLLECTORS)]
    return [system_packages.program("prometheus-mysqld-exporter"), listen, *options]


def environment(cluster: Cluster, kind: str, number: int) -> dict[str, str]:
    """How an exporter signs in."""
    password = credentials.read(cluster)
    if kind == "redis-exporter":
        first = cluster.address("redis", next(iter(layout.numbers("redis"))))
        return {"REDIS_ADDR": f"redis://{first}", "REDIS_PASSWORD": password["redis"]}
    member = cluster.address("mysql", number)
    return {"DATA_SOURCE_NAME": f"exporter:{password['mysql-exporter']}@({member})/"}
