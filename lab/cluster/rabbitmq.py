"""RabbitMQ's nodes, and the process `rabbitmq-keeper`, which restarts one that stays apart from the others.

RabbitMQ's own `pause_minority` and `autoheal` each left nodes apart in drills. The restart costs nothing: the
queue needs a majority of the nodes anyway. The keeper holds no state that matters: it may be killed.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import requests

from lab.cluster import layout
from lab.cluster.layout import Cluster
from scripts.stack import children

ERRORS = (requests.RequestException, ValueError)
ANSWER_SECONDS, PERIOD_SECONDS = 3, 1.0
APART_SECONDS, RESTART_SECONDS = 6.0, 30.0
"""What a node that is back may need to find the others; and one that is restarted, to come back."""


def ask(cluster: Cluster, name: str, path: str) -> Any:
    """The answer of the node's management. Raises `ERRORS`."""
    address = cluster.address(name.replace("-", "-management-"))
    account = ("firstcome", cluster.password("rabbitmq"))
    answer = requests.get(f"http://{address}/api/{path}", auth=account, timeout=ANSWER_SECONDS)
    answer.raise_for_status()
    return answer.json()


def nodes(cluster: Cluster, name: str) -> dict[str, Any]:
    """What this node says of each. Raises `ERRORS`."""
    return {one["name"].partition("@")[0]: one for one in ask(cluster, name, "nodes")}


def together(name: str, nodes: Mapping[str, Any]) -> set[str]:
    """The nodes that this one counts as running and not partitioned from it, by what it says."""
    apart = {node.partition("@")[0] for node in nodes.get(name, {}).get("partitions") or ()}
    return {one for one, node in nodes.items() if node.get("running")} - apart


def tasks_queue(cluster: Cluster) -> dict[str, Any]:
    """The queue of tasks, as the first node that answers has it; nothing when none does."""
    for name in layout.names("rabbitmq"):
        with suppress(*ERRORS):
            return dict(ask(cluster, name, "queues/%2F/celery"))
    return {}


def apart(views: Mapping[str, set[str]]) -> str:
    """The node to restart, by what each that answers sees: one that is together with the fewest others."""
    others = {
        name: sum(other in views[name] and name in views[other] for other in views) for name in sorted(views)
    }
    fewest = min(others, key=lambda name: others[name], default="")
    return fewest if others.get(fewest, 0) < len(views) else ""


def keep(cluster: Cluster) -> None:
    """Kill a node that is apart for long: supervisor starts it again, and it takes over what others know."""
    apart_before, since = "", 0.0
    while True:
        views = {}
        for name in layout.names("rabbitmq"):
            with suppress(*ERRORS):
                views[name] = together(name, nodes(cluster, name))
        name, now = apart(views), time.monotonic()
        since = since if name == apart_before else now
        apart_before = name
        if name and now - since >= APART_SECONDS:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {name} is apart, and is restarted", flush=True)
            children.kill(children.group_of(cluster.run, name))
            time.sleep(RESTART_SECONDS)
        time.sleep(PERIOD_SECONDS)


if __name__ == "__main__":
    keep(layout.remembered())
