"""`make cluster-status`: the members, roles, lag, routes, queue leaders, web nodes and the acting beat."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import MySQLdb
import requests
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from lab.cluster import group, layout, rabbitmq
from lab.cluster.layout import Cluster, names
from scripts.stack import children, ports, supervision

ANSWER_SECONDS = 1
ERRORS = (OSError, ValueError, LookupError, TypeError, MySQLdb.Error, RedisError)
"""Of a server that doesn't answer, not in time, or not the whole."""
_LEASE = """
SELECT holder, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), leased_until) / 1000000
FROM firstcome.shop_processlease WHERE name = 'beat'
"""
Found = tuple[str, bool]
"""What one part says, and whether it is as it should be."""


class Finding(NamedTuple):
    """One line of the status."""

    name: str
    text: str
    is_well: bool


def _processes(cluster: Cluster, _: str) -> Found:
    states = supervision.states(cluster.instance)
    stopped = [f"{name} {state.lower()}" for name, state in states.items() if state != "RUNNING"]
    return ", ".join([f"{len(states) - len(stopped)} of {len(states)} run", *stopped]), not stopped


def _member(cluster: Cluster, name: str) -> Found:
    view = group.view(cluster, name)
    return f"{view.state} {view.role}, {view.to_apply} transactions to apply", view.state == "ONLINE"


def _keeper(cluster: Cluster, _: str) -> Found:
    seen, step = group.look(cluster)
    primaries = [name for name, view in seen.items() if view and view.role == "PRIMARY"]
    text = f"{' '.join(map(str, step))}; {' and '.join(primaries) or 'none'} is the primary"
    return text, step.action == "nothing" and len(primaries) == 1


def _route(cluster: Cluster, name: str) -> Found:
    [(port, is_read_only)] = group.ask(cluster, name, "SELECT @@port, @@read_only", user="firstcome")
    text = f"leads to mysql-{port - cluster.port('mysql-1') + 1}"
    return f"{text}, which is read-only" if is_read_only else text, not is_read_only


def _redis(cluster: Cluster, name: str) -> Found:
    state = _ask_redis(cluster, name, "INFO", "replication")
    if state["role"] == "master":
        replicas = state["connected_slaves"]
        return f"primary with {replicas} replicas", replicas == len(names("redis")) - 1
    link, heard = state["master_link_status"], state["master_last_io_seconds_ago"]
    return f"replica, link {link}, heard of the primary {heard} s ago", link == "up"


def _sentinel(cluster: Cluster, name: str) -> Found:
    _, port = _ask_redis(cluster, name, "SENTINEL GET-MASTER-ADDR-BY-NAME", "primary")
    named = f"redis-{int(port) - cluster.port('redis-1') + 1}"
    return f"names {named}", named == redis_primary(cluster)


def redis_primary(cluster: Cluster) -> str:
    """The server that calls itself the primary; nothing when none does."""
    for name in names("redis"):
        with suppress(RedisError):
            if _ask_redis(cluster, name, "INFO", "replication")["role"] == "master":
                return name
    return ""


def _ask_redis(cluster: Cluster, name: str, *words: str) -> Any:
    times = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    password = cluster.password(layout.split(name)[0])
    retry = Retry(NoBackoff(), 0)
    with Redis(ports.HOST, cluster.port(name), password=password, retry=retry, **times) as client:
        return client.execute_command(*words)


def _rabbitmq(cluster: Cluster, name: str) -> Found:
    seen = rabbitmq.seen_by(cluster, name)
    return f"together with {', '.join(sorted(seen - {name}))}", seen == {*names("rabbitmq")}


def _queue(cluster: Cluster, _: str) -> Found:
    if not (found := rabbitmq.tasks_queue(cluster)):
        return "no node that answers has it", False
    online = len(found["online"])
    text = f"{found['type']}, leader {found.get('leader')}, {online} of {len(found['members'])} copies"
    return text, found["type"] == "quorum" and online == len(names("rabbitmq"))


def _web(cluster: Cluster, _: str) -> Found:
    """What HAProxy thinks of each web node."""
    address = f"http://{cluster.address('front-statistics')}/statistics;csv"
    rows = csv.DictReader(requests.get(address, timeout=ANSWER_SECONDS).text.lstrip("# ").splitlines())
    nodes = {row["svname"]: row["status"] for row in rows if row["pxname"] == "ready"}
    text = ", ".join(f"{name} {nodes[name].lower()}" for name in names("web"))
    return text, all(nodes[name].startswith("UP") for name in names("web"))


def _beat(cluster: Cluster, _: str) -> Found:
    name, left = beat_lease(cluster)
    return f"{name or 'none'} acts, its lease runs {left:.1f} s more", left > 0


def beat_lease(cluster: Cluster) -> tuple[str, float]:
    """The beat that held the lease last, and for how many seconds more. Raises MySQLdb's errors."""
    for holder, left in group.ask(cluster, "database", _LEASE, user="firstcome"):
        # A holder ends in the folder of that beat's schedule.
        return holder.rpartition("/schedule")[0].rpartition("/")[2], float(left)
    return "", 0.0


PARTS: Mapping[str, tuple[Sequence[str], Callable[[Cluster, str], Found]]] = {
    "processes": (["supervisor"], _processes),
    "database": (names("mysql"), _member),
    "group": (["mysql-keeper"], _keeper),
    "routes": (names("router", "database"), _route),
    "Redis": (names("redis"), _redis),
    "Sentinel": (names("sentinel"), _sentinel),
    "RabbitMQ": (names("rabbitmq"), _rabbitmq),
    "queue": (["celery"], _queue),
    "web": (["haproxy-front"], _web),
    "beat": (["lease"], _beat),
}


def examine(cluster: Cluster, parts: Collection[str] = PARTS.keys()) -> dict[str, list[Finding]]:
    """Everything at the same time: what hangs delays none of the others."""
    with ThreadPoolExecutor(32) as pool:
        asked = {
            part: [pool.submit(_look, check, cluster, name) for name in of_part]
            for part, (of_part, check) in PARTS.items()
            if part in parts
        }
        return {part: [one.result() for one in looks] for part, looks in asked.items()}


def _look(check: Callable[[Cluster, str], Found], cluster: Cluster, name: str) -> Finding:
    try:
        return Finding(name, *check(cluster, name))
    except ERRORS as error:
        return Finding(name, f"does not answer: {error}", False)


def missing(cluster: Cluster, *parts: str) -> list[str]:
    """What the status would mark of these parts, by default of all."""
    found = examine(cluster, parts or PARTS.keys())
    return [f"{one.name} {one.text}" for rows in found.values() for one in rows if not one.is_well]


def main() -> int:
    """Print every part; what is missing begins with an exclamation mark. The exit code is 1 then."""
    parser = argparse.ArgumentParser(prog="make cluster-status", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    is_json = parser.parse_args().json
    found = examine(layout.remembered())
    if is_json:
        print(json.dumps({part: [one._asdict() for one in rows] for part, rows in found.items()}, indent=1))
    else:
        for part, rows in found.items():
            print(
                part, *(f"{' ' if one.is_well else '!'} {one.name:13} {one.text}" for one in rows), sep="\n"
            )
    return 0 if all(one.is_well for rows in found.values() for one in rows) else 1


if __name__ == "__main__":
    sys.exit(children.run_command("firstcome", main))
