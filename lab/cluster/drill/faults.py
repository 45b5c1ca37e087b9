"""Faults of single processes: which process it is, and how it is killed, frozen or cut off."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import findings, layout, sentinels
from lab.cluster.drill import partition
from lab.cluster.drill.plan import Fault
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.layout import Cluster
from scripts.stack import SetupError, process_identity, waiting

SILENT_SECONDS = 30


def target(cluster: Cluster, fault: Fault) -> str:
    """The name of the process that the fault is about. Raises SetupError when there is none."""
    none = f"{fault.name}: there is no {fault.component} now"
    return waiting.until(lambda: _target(cluster, fault), none, within_seconds=SILENT_SECONDS)


def _target(cluster: Cluster, fault: Fault) -> str:
    match fault.component:
        case "mysql-primary" | "mysql-secondary":
            members = GroupMembers.of(cluster)
            primary = members.primary()
            others = [number for number in members.servers.numbers if number != primary]
            number = primary if fault.component.endswith("primary") else _chosen(others, fault)
            return members.servers.name(number) if primary and number else ""
        case "redis-primary":
            port = sentinels.primary_port(cluster)
            return f"redis-{port - cluster.port('redis') + 1}" if port else ""
        case "rabbitmq":
            return findings.queue_leader(cluster)
        case "beat":
            return findings.acting_beat_name(cluster)
        case "haproxy-front" | "haproxy-database" | "mysql-keeper" | "rabbitmq-keeper":
            return fault.component
        case kind:
            return f"{kind}-{_chosen(list(layout.numbers(kind)), fault)}"


def _chosen(numbers: list[int], fault: Fault) -> int:
    return numbers[int(fault.choice * len(numbers))]


def pids_of(cluster: Cluster, name: str) -> set[int]:
    """The process of that name and its children. Redis writes its title over the mark in its environment."""
    run = cluster.instance.run
    leader = process_identity.leader_of(run, name)
    return process_identity.group_of(run, name) | ({leader} if leader else set())


@contextmanager
def happening(cluster: Cluster, fault: Fault, name: str, groups: Path) -> Iterator[None]:
    """The fault is there inside the block; a kill is over at once, and supervisor starts it again."""
    pids = pids_of(cluster, name)
    if not pids:
        raise SetupError(f"{fault.name}: {name} does not run")
    if fault.action == "kill":
        process_identity.kill(pids)
        yield
    elif fault.action == "freeze":
        with process_identity.frozen(pids):
            yield
    else:
        with partition.cut_off(groups, [name]):
            yield
