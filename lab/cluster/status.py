"""`make cluster STATUS=1`: the members, roles, lag, routes, queue leaders, web nodes and the acting beat."""

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import MySQLdb
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from lab.cluster import keepers, layout
from lab.cluster.layout import Cluster, names
from lab.stack.prometheus import Prometheus
from scripts.stack import Lines, SetupError, children, ports, supervision

ANSWER_SECONDS = 1
# Of a server that doesn't answer, not in time, or not the whole.
ERRORS = (OSError, ValueError, LookupError, TypeError, MySQLdb.Error, RedisError, SetupError)
_LEASE = """
SELECT holder, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), leased_until) / 1000000
FROM firstcome.shop_processlease WHERE name = 'beat'
"""
PARTS = {
    "processes": ["supervisor"],
    "database": names("mysql"),
    "group": ["mysql-keeper"],
    "routes": names("router", "database"),
    "Redis": names("redis"),
    "Sentinel": names("sentinel"),
    "RabbitMQ": names("rabbitmq"),
    "queue": ["celery"],
    "web": ["haproxy-front"],
    "beat": ["lease"],
    "targets": ["prometheus"],
}


class Finding(NamedTuple):
    part: str
    name: str
    text: str
    is_well: bool


def _listed(what: str, states: Mapping[str, str], well: str) -> tuple[str, bool]:
    """How many are in the state that is well, and each of the others."""
    others = []
    for one, state in states.items():
        if state != well:
            others.append(f"{one} {state.lower()}")
    return ", ".join([f"{len(states) - len(others)} of {len(states)} {what}", *others]), not others


def _look(cluster: Cluster, part: str, name: str) -> tuple[str, bool]:
    """What one server says of itself and others, and whether that is as it should be. Raises `ERRORS`."""
    match part:
        case "processes":
            return _listed("run", supervision.states(cluster), "RUNNING")
        case "database":
            view = keepers.view(cluster, name)
            return f"{view.state} {view.role}, {view.to_apply} transactions to apply", view.state == "ONLINE"
        case "group":
            seen, step = keepers.look(cluster)
            primaries = [one for one, view in seen.items() if view and view.role == "PRIMARY"]
            text = f"{' '.join(map(str, step))}; {' and '.join(primaries) or 'none'} is the primary"
            return text, step.action == "nothing" and len(primaries) == 1
        case "routes":
            [(port, is_closed)] = keepers.ask(cluster, name, "SELECT @@port, @@read_only", user="firstcome")
            to = f"leads to mysql-{port - cluster.port_of('mysql-1') + 1}"
            return f"{to}{', which is read-only' * is_closed}", not is_closed
        case "Redis":
            state = ask_redis(cluster, name, "INFO", "replication")
            if state["role"] == "master":
                count = state["connected_slaves"]
                return f"primary with {count} replicas", count == len(names("redis")) - 1
            link = state["master_link_status"]
            return f"replica, link {link}", link == "up"
        case "Sentinel":
            _, port = ask_redis(cluster, name, "SENTINEL GET-MASTER-ADDR-BY-NAME", "primary")
            named = f"redis-{int(port) - cluster.port_of('redis-1') + 1}"
            return f"names {named}", named == redis_primary(cluster)
        case "RabbitMQ":
            nodes = keepers.nodes(cluster, name)
            together = keepers.together(name, nodes)
            alarms = [one for one in ("mem_alarm", "disk_free_alarm") if nodes[name].get(one)]
            text = ", ".join([f"together with {' and '.join(sorted(together - {name}))}", *alarms])
            return text, together == {*names("rabbitmq")} and not alarms
        case "queue":
            found = keepers.tasks_queue(cluster)
            online = len(found["online"])
            kind = found["type"]
            text = f"{kind}, leader {found.get('leader')}, {online} of {len(found['members'])} copies"
            return text, kind == "quorum" and online == len(names("rabbitmq"))
        case "web":
            states = {}
            for row in layout.balanced(cluster.port_of("front-statistics")):
                if row["pxname"] == "ready" and row["svname"] in names("web"):
                    states[row["svname"]] = row["status"].partition(" ")[0]
            return _listed("ready", states, "UP")
        case "targets":
            return _listed("up", Prometheus(cluster.address(name)).targets(), "up")
    beat, left = beat_lease(cluster)
    return f"{beat or 'none'} acts, its lease runs {left:.1f} s more", left > 0


def redis_primary(cluster: Cluster) -> str:
    """The server that calls itself the primary; nothing when none does."""
    for name in names("redis"):
        with suppress(RedisError):
            if ask_redis(cluster, name, "INFO", "replication")["role"] == "master":
                return name
    return ""


def ask_redis(cluster: Cluster, name: str, *words: str) -> Any:
    """The answer of a Redis or Sentinel. Raises redis' errors."""
    client = Redis(
        ports.HOST,
        cluster.port_of(name),
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        password=cluster.password(layout.split(name)[0]),
        retry=Retry(NoBackoff(), 0),
    )
    with client:
        return client.execute_command(*words)


def beat_lease(cluster: Cluster) -> tuple[str, float]:
    """The beat that held the lease last, and for how many seconds more. Raises MySQLdb's errors."""
    for holder, left in keepers.ask(cluster, "database", _LEASE, user="firstcome"):
        # A holder ends in the folder of that beat's schedule.
        return holder.rpartition("/schedule")[0].rpartition("/")[2], float(left)
    return "", 0.0


def examine(cluster: Cluster, *parts: str) -> list[Finding]:
    """These parts, at the same time: what hangs delays none of the others."""

    def found(part: str, name: str) -> Finding:
        try:
            return Finding(part, name, *_look(cluster, part, name))
        except ERRORS as error:
            return Finding(part, name, f"does not answer: {error}", False)

    of_parts = [(part, name) for part in parts for name in PARTS[part]]
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(found, *zip(*of_parts, strict=True)))


def missing(cluster: Cluster, *parts: str) -> Lines:
    """What the status would mark of these parts, by default of all that serve requests."""
    chosen = parts or [part for part in PARTS if part != "targets"]
    result = []
    for one in examine(cluster, *chosen):
        if not one.is_well:
            result.append(f"{one.name} {one.text}")
    return result


def main() -> int:
    """Print every part; what is missing begins with an exclamation mark. The exit code is 1 then."""
    found = examine(layout.remembered(), *PARTS)
    if "--json" in sys.argv[1:]:
        print(json.dumps([one._asdict() for one in found], indent=1))
    else:
        for one in found:
            print(f"{' ' if one.is_well else '!'} {one.part:10} {one.name:14} {one.text}")
    return int(not all(one.is_well for one in found))


if __name__ == "__main__":
    children.end_with(main)
