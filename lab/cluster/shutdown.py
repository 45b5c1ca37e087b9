"""Stopping the cluster: first what takes requests, last what has everything that was committed."""

from collections.abc import Callable, Iterator

from lab.cluster import layout, sentinels, supervision
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.layout import Cluster


def stop_in_order(cluster: Cluster, *, say: Callable[[str], None]) -> None:
    """Stop every process, group by group; of the database's members last the one that all others followed."""
    for what, names in _stages(cluster):
        say(f"  {what}")
        supervision.stop(cluster, *names)


def _stages(cluster: Cluster) -> Iterator[tuple[str, list[str]]]:
    """What each stage stops; a stage is computed when the one before it has stopped."""
    groups = supervision.GROUPS
    yield "no more requests", list(groups["front"])
    yield "the web nodes, workers, issuers and beats", [*groups["web"], *groups["background"]]
    yield "the simulators and the monitoring", [*groups["outside"], *groups["monitoring"]]
    yield "the routes to the database", list(groups["routes"])
    primary = GroupMembers.of(cluster).primary()
    main_redis = sentinels.primary_port(cluster)
    # Before the servers: neither a failover nor a restart of the group follows.
    yield "Sentinels and the keeper", list(groups["keepers"])
    last = [
        f"redis-{number}" for number in layout.numbers("redis") if cluster.port("redis", number) == main_redis
    ]
    last += [f"mysql-{primary}"] if primary else []
    yield "replicas, secondaries and the broker", [name for name in groups["stores"] if name not in last]
    # It has every transaction, and founds the group next time.
    yield "the primaries", last
    yield "the directory of nodes", list(groups["directory"])
