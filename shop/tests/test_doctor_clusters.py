"""The doctor about clusters: what it says of each state, and that it says nothing where there is none."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from redis.sentinel import Sentinel, SentinelConnectionPool

from scripts.stack import children, ports
from scripts.stack.mariadb import SEARCH_PATH
from shop.operations.doctor import brokers, group_replication, replication, sentinels
from shop.operations.doctor.findings import Finding
from shop.operations.doctor.group_replication import Member
from shop.operations.doctor.sentinels import Sentinel as Found
from shop.tests.outages import OwnRedis
from shop.tests.racing import wait_until

SETTINGS = {
    "single_primary_mode": "ON",
    "consistency": "BEFORE_ON_PRIMARY_FAILOVER",
    "member_expel_timeout": "0",
    "unreachable_majority_timeout": "5",
    "exit_state_action": "OFFLINE_MODE",
}
PRIMARY = Member("10.0.0.1", 3306, "ONLINE", "PRIMARY", True, 0)
SECOND = Member("10.0.0.2", 3306, "ONLINE", "SECONDARY", False, 3)
THIRD = Member("10.0.0.3", 3306, "ONLINE", "SECONDARY", False, 12)
GROUP = [PRIMARY, SECOND, THIRD]


def levels(findings: list[Finding]) -> dict[str, str]:
    assert all(finding.advice for finding in findings if finding.level != "ok")
    return {finding.check: finding.level for finding in findings}


@pytest.mark.django_db
def test_a_single_server_has_no_findings_of_clusters() -> None:
    assert connection.vendor == "mysql"
    assert group_replication.examine() == []
    assert replication.examine() == []
    assert sentinels.examine() == []


def test_a_healthy_group_has_no_faults() -> None:
    found = levels(group_replication.judge(GROUP, SETTINGS))
    assert set(found.values()) == {"ok"}
    assert len(found) == 9


@pytest.mark.parametrize(
    ("members", "check", "level"),
    [
        ([PRIMARY, SECOND, THIRD._replace(state="RECOVERING")], "cluster members", "warning"),
        ([PRIMARY, SECOND, THIRD._replace(state="RECOVERING")], "cluster majority", "warning"),
        ([PRIMARY, SECOND], "cluster majority", "warning"),
        ([PRIMARY, SECOND, THIRD._replace(state="UNREACHABLE")], "cluster majority", "warning"),
        (
            [PRIMARY, SECOND._replace(state="UNREACHABLE"), THIRD._replace(state="UNREACHABLE")],
            "cluster majority",
            "danger",
        ),
        ([PRIMARY._replace(is_connected=False), SECOND, THIRD], "route to the primary", "danger"),
        (
            [PRIMARY._replace(is_connected=False), SECOND._replace(is_connected=True), THIRD],
            "route to the primary",
            "danger",
        ),
        ([PRIMARY._replace(state="ERROR"), SECOND, THIRD], "route to the primary", "danger"),
        ([PRIMARY, SECOND._replace(role="PRIMARY"), THIRD], "cluster writers", "danger"),
        ([PRIMARY, SECOND, THIRD._replace(queued=40_000)], "cluster lag", "warning"),
    ],
)
def test_members_get_their_levels(members: list[Member], check: str, level: str) -> None:
    assert levels(group_replication.judge(members, SETTINGS))[check] == level


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({"single_primary_mode": "OFF"}, "cluster writers", "danger"),
        ({"consistency": "EVENTUAL"}, "group_replication_consistency", "danger"),
        ({"consistency": "BEFORE_AND_AFTER"}, "group_replication_consistency", "ok"),
        ({"member_expel_timeout": "5"}, "group_replication_member_expel_timeout", "ok"),
        ({"member_expel_timeout": "30"}, "group_replication_member_expel_timeout", "warning"),
        ({"unreachable_majority_timeout": "0"}, "group_replication_unreachable_majority_timeout", "warning"),
        ({"exit_state_action": "READ_ONLY"}, "group_replication_exit_state_action", "warning"),
        ({"exit_state_action": "ABORT_SERVER"}, "group_replication_exit_state_action", "ok"),
    ],
)
def test_settings_of_a_group_get_their_levels(changed: dict[str, str], check: str, level: str) -> None:
    assert levels(group_replication.judge(GROUP, SETTINGS | changed))[check] == level


NODE = {
    "wsrep_ready": "ON",
    "wsrep_cluster_size": "3",
    "wsrep_cluster_status": "Primary",
    "wsrep_local_state_comment": "Synced",
    "wsrep_received": "10",
    "wsrep_replicated": "5000",
}


@pytest.mark.parametrize(
    ("after", "check", "level"),
    [
        ({"wsrep_replicated": "5200"}, "Galera writers", "ok"),
        ({"wsrep_received": "14", "wsrep_replicated": "5200"}, "Galera writers", "danger"),
        ({}, "Galera node", "ok"),
        ({"wsrep_cluster_status": "non-Primary"}, "Galera node", "danger"),
        ({"wsrep_local_state_comment": "Donor/Desynced"}, "Galera node", "danger"),
        ({"wsrep_cluster_size": "2"}, "Galera nodes", "warning"),
    ],
)
def test_nodes_of_galera_get_their_levels(after: dict[str, str], check: str, level: str) -> None:
    assert levels(replication.galera(NODE, NODE | after))[check] == level


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ({"Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Seconds_Behind_Master": 0}, "ok"),
        ({"Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes", "Seconds_Behind_Source": 9}, "warning"),
        ({"Slave_IO_Running": "Yes", "Slave_SQL_Running": "No", "Last_SQL_Error": "1062"}, "warning"),
        ({"Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Seconds_Behind_Master": None}, "warning"),
    ],
)
def test_a_replica_gets_its_level(status: Mapping[str, Any], level: str) -> None:
    assert levels(replication.replica(status)) == {"secondary replication": level}


@pytest.mark.parametrize(
    ("found", "level"),
    [
        ([Found("a", 2), Found("b", 2), Found("c", 2)], "ok"),
        ([Found("a", 2), Found("b", 2)], "warning"),
        ([Found("a", 2), Found("b", 2), Found("c", error="refused")], "warning"),
        ([Found("a", 2), Found("b", error="refused"), Found("c", error="refused")], "danger"),
        ([Found("a", 2), Found("b", 2), Found("c", 2, refusal="NOQUORUM")], "danger"),
    ],
)
def test_sentinels_get_their_level(found: list[Found], level: str) -> None:
    assert levels(sentinels.judge(found)) == {"Sentinel quorum": level, "Redis replicas": "ok"}


@pytest.fixture
def sentinel_port(own_redis: OwnRedis, tmp_path: Path) -> Iterator[int]:
    """A real Sentinel that watches the test's own Redis, alone, with a quorum of two."""
    port, configuration = ports.free(), tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind {ports.HOST}\nsentinel monitor shop {ports.HOST} {own_redis.port} 2\n"
    )
    program = shutil.which("redis-server", path=SEARCH_PATH)
    assert program
    log = tmp_path / "sentinel.log"
    child = children.start([program, str(configuration), "--sentinel"], log=log, environment=os.environ)
    try:
        answers = lambda: ports.answers((ports.HOST, port))  # noqa: E731
        children.wait_until(answers, name="sentinel", child=child, log=log, within_seconds=20)
        yield port
    finally:
        children.stop(child)


def test_a_real_sentinel_without_its_fellows_has_no_quorum(sentinel_port: int) -> None:
    manager = Sentinel([(ports.HOST, sentinel_port), (ports.HOST, ports.free())], socket_timeout=2)
    pool = SentinelConnectionPool("shop", manager)
    found: list[Found] = []

    def is_refused() -> bool:
        found[:] = sentinels.read(pool)
        return bool(found[0].refusal)

    wait_until(is_refused, seconds=10)
    assert "NOQUORUM" in found[0].refusal
    assert found[1].error
    assert levels(sentinels.judge(found)) == {"Sentinel quorum": "danger", "Redis replicas": "warning"}


@pytest.mark.parametrize(
    ("kind", "nodes", "refused", "expected"),
    [
        ("classic", 1, [], {}),
        ("classic", 3, [], {"broker queues": "warning"}),
        ("quorum", 3, [], {"broker queues": "ok"}),
        ("quorum", 1, [], {"broker queues": "warning"}),
        ("quorum", 3, ["celery"], {"broker queues": "danger"}),
    ],
)
def test_queues_of_a_broker_get_their_level(
    kind: str, nodes: int, refused: list[str], expected: dict[str, str]
) -> None:
    assert levels(brokers.queue_type(kind, nodes=nodes, refused=refused)) == expected


def test_messages_to_quorum_queues_should_be_confirmed() -> None:
    assert brokers.confirmations("classic", are_awaited=False) == []
    assert levels(brokers.confirmations("quorum", are_awaited=False)) == {"broker confirmations": "warning"}
    assert levels(brokers.confirmations("quorum", are_awaited=True)) == {"broker confirmations": "ok"}
