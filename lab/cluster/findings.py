"""What each part of the running cluster says about itself."""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import MySQLdb
import requests

from lab.cluster import credentials, layout, sentinels, steps, supervision
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.layout import Cluster
from scripts.stack import ports
from scripts.stack.programs.prometheus import Prometheus

SECONDS = 3
QUEUE = "celery"
_LEASE = "SELECT holder, leased_until, UTC_TIMESTAMP(6) FROM shop_processlease WHERE name = 'beat'"
_ROUTE = "SELECT @@port, @@read_only"


@dataclass(frozen=True)
class Finding:
    """One line of the status."""

    name: str
    text: str
    is_well: bool = True


def processes(cluster: Cluster) -> list[Finding]:
    """How many run, and those that don't."""
    states = supervision.states(cluster)
    stopped = {name: state for name, state in states.items() if state != "RUNNING"}
    found = [Finding("running", f"{len(states) - len(stopped)} of {len(states)}", is_well=not stopped)]
    return found + [Finding(name, state.lower(), is_well=False) for name, state in stopped.items()]


def database(cluster: Cluster) -> list[Finding]:
    """Each member's state and role, and how far it is behind; what the keeper does."""
    members, found = GroupMembers.of(cluster), []
    conditions = members.conditions()
    for number, one in conditions.items():
        found.append(Finding(members.servers.name(number), one.text, is_well=one.is_online))
    primaries = sum(one.is_primary for one in conditions.values())
    if primaries != 1:
        found.append(Finding("primary", f"{primaries} members call themselves the primary", is_well=False))
    step = steps.last_step(cluster)
    if step and step.action != "nothing":
        found.append(Finding("keeper", step.text, is_well=False))
    return found


def routes(cluster: Cluster) -> list[Finding]:
    """Where each Router, and the address of the database, lead to."""
    addresses = {name: cluster.port(*layout.split(name)) for name in layout.names("router")}
    addresses["database"] = cluster.port("database")
    by_port = {cluster.port(*layout.split(name)): name for name in layout.names("mysql")}
    return [_route(cluster, name, port, by_port) for name, port in addresses.items()]


def _route(cluster: Cluster, name: str, port: int, by_port: Mapping[int, str]) -> Finding:
    try:
        member, is_read_only = _ask_as_shop(cluster, port, _ROUTE)[0]
    except MySQLdb.Error as error:
        return Finding(name, f"port {port} refuses: {error}", is_well=False)
    text = f"port {port} leads to {by_port.get(member, f'port {member}')}"
    return Finding(name, f"{text}, which is read-only" if is_read_only else text, is_well=not is_read_only)


def redis(cluster: Cluster) -> list[Finding]:
    """The role of each server, how far replicas are behind, and which primary each Sentinel names."""
    by_port = {cluster.port("redis", number): number for number in layout.numbers("redis")}
    states = {number: sentinels.state(cluster, number) for number in layout.numbers("redis")}
    primary = sentinels.primary_port(cluster)
    offset = int((states.get(by_port.get(primary or 0, 0)) or {}).get("master_repl_offset", 0))
    found = [_server(number, state, offset) for number, state in states.items()]
    for number in layout.numbers("sentinel"):
        named = sentinels.primary_as_named_by(cluster, number)
        text = f"names redis-{by_port.get(named)}" if named else "does not answer"
        found.append(Finding(f"sentinel-{number}", text, is_well=named is not None and named == primary))
    return found


def _server(number: int, state: Mapping[str, Any] | None, offset: int) -> Finding:
    name = f"redis-{number}"
    if state is None:
        return Finding(name, "does not answer", is_well=False)
    if state["role"] == "master":
        return Finding(name, f"primary with {state['connected_slaves']} replicas")
    link = state["master_link_status"]
    behind = max(0, offset - int(state.get("slave_repl_offset", 0)))
    return Finding(name, f"replica, link {link}, {behind} bytes behind", is_well=link == "up")


def rabbitmq(cluster: Cluster) -> list[Finding]:
    """Each node, and where the queue's leader and its copies are. Any node that answers knows it."""
    nodes, queues = _of_any_node(cluster, "nodes"), _of_any_node(cluster, "queues")
    return [*rabbitmq_nodes(nodes), *rabbitmq_queues(queues)]


def queue_leader(cluster: Cluster) -> str:
    """The node that leads the queue of tasks; nothing when none does, or none answers."""
    with contextlib.suppress(OSError):
        for queue in _of_any_node(cluster, "queues"):
            if queue["name"] == QUEUE:
                return _short(queue.get("leader") or "")
    return ""


def nodes_as_seen(cluster: Cluster) -> dict[int, frozenset[int]]:
    """Of each node of RabbitMQ that answers, those that it counts as running and not partitioned from it."""
    seen = {}
    for number in layout.numbers("rabbitmq"):
        with contextlib.suppress(OSError, ValueError):
            seen[number] = seen_by(number, _management(cluster, number, "nodes"))
    return seen


def seen_by(number: int, nodes: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    """The nodes that this one is together with, itself included, as its management API names them."""
    running = {_short(node["name"]): node for node in nodes if node.get("running")}
    own = running.get(f"rabbitmq-{number}", {})
    partitioned = {_short(node) for node in own.get("partitions") or ()}
    return frozenset(layout.split(name)[1] for name in running.keys() - partitioned)


def rabbitmq_nodes(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """A line for each node of the configuration, as the management API names them."""
    running = {_short(node["name"]): node for node in nodes if node.get("running")}
    found = []
    for name in layout.names("rabbitmq"):
        node = running.get(name)
        alarms = [alarm for alarm in ("mem_alarm", "disk_free_alarm") if node and node.get(alarm)]
        text = "not running" if node is None else f"running, {' and '.join(alarms)}" if alarms else "running"
        found.append(Finding(name, text, is_well=node is not None and not alarms))
    return found


def rabbitmq_queues(queues: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """The queue of tasks: its leader, and which of its copies are there."""
    for queue in queues:
        if queue["name"] == QUEUE:
            break
    else:
        return [Finding("queue", "no worker has made it yet", is_well=False)]
    members, online = queue.get("members", []), queue.get("online", [])
    away = sorted(_short(node) for node in {*members} - {*online})
    leader = _short(queue.get("leader") or "none")
    text = f"{queue.get('type')}, leader {leader}, {len(online)} of {len(members)} copies"
    text += f", {queue.get('messages', 0)} messages, {queue.get('consumers', 0)} consumers"
    is_well = queue.get("type") == "quorum" and len(online) == layout.SIZES["rabbitmq"]
    return [Finding("queue", f"{text}; away: {', '.join(away)}" if away else text, is_well=is_well)]


def web(cluster: Cluster) -> list[Finding]:
    """What HAProxy thinks of each web node."""
    statistics = _get(f"http://{cluster.address('front-statistics')}/statistics;csv").text
    rows = csv.DictReader(io.StringIO(statistics.lstrip("# ")))
    return [
        Finding(
            row["svname"],
            f"{row['status'].lower()}, {row['scur']} requests now, {row['stot']} in all",
            is_well=row["status"].startswith("UP"),
        )
        for row in rows
        if row["pxname"] == "ready" and row["svname"] not in ("FRONTEND", "BACKEND")
    ]


def beat(cluster: Cluster) -> list[Finding]:
    """The beat that holds the lease."""
    rows = _ask_as_shop(cluster, cluster.port("database"), _LEASE)
    if not rows:
        return [Finding("acting", "none has ever acted", is_well=False)]
    holder, until, now = rows[0]
    name, left = _beat_of(holder), (until - now).total_seconds()
    if left <= 0:
        return [Finding("acting", f"none: the lease of {name} lapsed {-left:.1f} s ago", is_well=False)]
    return [Finding("acting", f"{name}, its lease runs {left:.1f} s more")]


def acting_beat_name(cluster: Cluster) -> str:
    """The beat that held the lease last; nothing when none ever did, or the database does not say."""
    try:
        rows = _ask_as_shop(cluster, cluster.port("database"), _LEASE)
    except MySQLdb.Error:
        return ""
    return _beat_of(rows[0][0]) if rows else ""


def _beat_of(holder: str) -> str:
    """A holder ends in the folder of that beat's schedule."""
    return holder.rpartition("/schedule")[0].rpartition("/")[2] or holder


def prometheus(cluster: Cluster) -> list[Finding]:
    """How many targets answer, and those that don't."""
    targets = Prometheus(f"http://{cluster.address('prometheus')}").targets()
    down = [Finding(target, health, is_well=False) for target, health in targets.items() if health != "up"]
    return [Finding("targets", f"{len(targets) - len(down)} of {len(targets)} up", is_well=not down), *down]


def _ask_as_shop(cluster: Cluster, port: int, question: str) -> Sequence[tuple[Any, ...]]:
    connection = MySQLdb.connect(
        host=ports.HOST,
        port=port,
        user="firstcome",
        passwd=credentials.read(cluster)["mysql-shop"],
        database="firstcome",
        connect_timeout=SECONDS,
        read_timeout=SECONDS,
    )
    with closing(connection), closing(connection.cursor()) as cursor:
        cursor.execute(question)
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _of_any_node(cluster: Cluster, what: str) -> Any:
    """What the first node of RabbitMQ that answers says. Raises OSError when none does."""
    for number in layout.numbers("rabbitmq"):
        with contextlib.suppress(OSError):
            return _management(cluster, number, what)
    raise ConnectionError("no node of RabbitMQ answers")


def _management(cluster: Cluster, number: int, what: str) -> Any:
    address = f"http://{cluster.address('rabbitmq-management', number)}/api/{what}"
    return _get(address, auth=("firstcome", credentials.read(cluster)["rabbitmq"])).json()


def _get(address: str, **settings: Any) -> requests.Response:
    """Raises requests' errors, which are OSErrors, for a refusal too."""
    answer = requests.get(address, timeout=SECONDS, **settings)
    answer.raise_for_status()
    return answer


def _short(node: str) -> str:
    return node.partition("@")[0]
