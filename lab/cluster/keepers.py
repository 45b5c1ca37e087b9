"""What MySQL's members and RabbitMQ's nodes say, and the two processes that keep them together. They hold no
state that matters: they may be killed at any moment.

`mysql-keeper` founds the group of MySQL Group Replication, and has each member that is outside of it join
again. One process does this for all, because founding needs an answer from each.

`rabbitmq-keeper` restarts a node that stays apart from the others. RabbitMQ's own `pause_minority` and
`autoheal` each left nodes apart in drills. The restart costs nothing: the queue needs a majority anyway.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import MySQLdb
import requests

from lab.cluster import layout
from lab.cluster.layout import Cluster
from scripts.stack import Json, children, ports
from scripts.stack.children import say

RABBITMQ_ERRORS = (requests.RequestException, ValueError)
# What a node that is back may need to find the others; and one that is restarted, to come back.
APART_SECONDS = 6.0
RESTART_SECONDS = 30.0
QUESTION_SECONDS = 2
# A member that is cloned answers when it has all data; a group that is just expelling one refuses it.
JOIN_SECONDS = 3600
PERIOD_SECONDS = 1.0
RETRY_SECONDS = 3.0
PASSWORDS = {"cluster": "mysql-administrator", "firstcome": "mysql-shop"}
VIEW = Path(__file__).with_name("view.sql").read_text()


class View(NamedTuple):
    """What one member says about itself and the others. Its state is `ONLINE`, `RECOVERING`, or, outside of
    any group, `OFFLINE` or `ERROR`; `received` are the transactions (GTIDs) that it executed, and those that
    wait in its relay log; it has a majority in a group most of whose members it reaches."""

    state: str
    role: str = ""
    to_apply: int = 0
    received: str = ""
    has_majority: bool | None = False


class Step(NamedTuple):
    """What to do with which members: `found`, `join`, `wait`, `refuse` or `nothing`."""

    action: str
    members: tuple[str, ...] = ()
    reason: str = ""


def ask(
    cluster: Cluster, name: str, *statements: str, user: str = "cluster", seconds: int = QUESTION_SECONDS
) -> list[tuple[Any, ...]]:
    """The rows of the last of these statements, from a member, a Router, or the database's address.

    As administrator a member answers in any state. Raises MySQLdb's errors.
    """
    connection = MySQLdb.connect(
        ports.HOST,
        port=cluster.port_of(name),
        user=user,
        passwd=cluster.password(PASSWORDS[user]),
        autocommit=True,
        connect_timeout=QUESTION_SECONDS,
        read_timeout=seconds,
        write_timeout=seconds,
    )
    with closing(connection), closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def view(cluster: Cluster, name: str) -> View:
    """What the member says. Raises MySQLdb's errors."""
    return View(*ask(cluster, name, VIEW)[0])


def look(cluster: Cluster) -> tuple[dict[str, View | None], Step]:
    """What each member says, None for one that doesn't answer in time, and what to do next."""
    seen: dict[str, View | None] = dict.fromkeys(layout.names("mysql"))
    for name in seen:
        with suppress(MySQLdb.Error):
            seen[name] = view(cluster, name)

    def subtract(some: str, others: str) -> str:
        return str(ask(cluster, "mysql-1", f"SELECT GTID_SUBTRACT('{some}', '{others}')")[0][0])

    try:
        return seen, next_step(seen, subtract)
    except MySQLdb.Error as error:
        return seen, Step("wait", reason=f"for an answer: {error}")


def primary(cluster: Cluster) -> str:
    """The member that writes, as it and most of the others say; nothing when there is none."""
    seen = look(cluster)[0].items()
    return next((name for name, one in seen if one and one.role == "PRIMARY" and one.has_majority), "")


def next_step(seen: Mapping[str, View | None], subtract: Callable[[str, str], str]) -> Step:
    """What to do next, decided from what each member of the configuration says.

    A group is founded only when every member answers, none is in a group, and one has all transactions of the
    others: a group without a member that had committed more would lose what was acknowledged.
    """
    answering = {name: view for name, view in seen.items() if view}
    outside = tuple(name for name, view in answering.items() if view.state in ("OFFLINE", "ERROR"))
    if any(view.has_majority for view in answering.values()):
        if outside:
            return Step("join", outside)
        return Step("nothing")
    inside = tuple(name for name in answering if name not in outside)
    if inside:
        return Step("wait", inside, "in a group without a majority, or not yet in one")
    silent = tuple(name for name, view in seen.items() if view is None)
    if silent:
        return Step("wait", silent, "silent, and maybe with transactions that the others lack: see its log")
    lacks = {
        (name, other): lacking
        for name, view in answering.items()
        for other, more in answering.items()
        if (lacking := subtract(more.received, view.received))
    }
    for name in answering:
        if name not in {one for one, _ in lacks}:
            return Step("found", (name,))
    lacking = "; ".join(f"{name} lacks {what} of {other}" for (name, other), what in lacks.items())
    reason = (
        f"no member has all transactions ({lacking}). To go on, a person decides which are given up: "
        "stop the cluster, keep a copy of the data folders of all members, remove those of the members whose "
        "transactions are given up, and start it again; they are then cloned from the others"
    )
    return Step("refuse", tuple(answering), reason)


def keep_mysql(cluster: Cluster) -> None:
    """Look at the members once a second, and act on each in a thread: one that hangs holds up no other."""
    acting = dict[str, Thread]()
    step = Step("nothing")
    while True:
        last = step
        _, step = look(cluster)
        if step != last:
            say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(map(str, step))}")
        for name in step.members if step.action in ("found", "join") else ():
            if name not in acting or not acting[name].is_alive():
                acting[name] = Thread(
                    target=partial(_start, cluster, name, step.action == "found"), daemon=True
                )
                acting[name].start()
        time.sleep(PERIOD_SECONDS)


def _start(cluster: Cluster, name: str, is_first: bool) -> None:
    """Have the member found the group, or join the one that is there.

    Cloning ends with a shutdown: supervisor starts the member again, and it joins once more.
    """
    bootstrap = "SET GLOBAL group_replication_bootstrap_group ="
    account = f"USER = 'replication', PASSWORD = '{cluster.password('mysql-replication')}'"
    # Out of a group that has ended for it, and open to connections again. Bootstrapping is still on when the
    # process that founded the group ended half-way.
    statements = ("STOP GROUP_REPLICATION", "SET GLOBAL offline_mode = OFF", f"{bootstrap} {is_first}")
    try:
        ask(cluster, name, *statements, f"START GROUP_REPLICATION {account}", seconds=JOIN_SECONDS)
    except MySQLdb.Error as error:
        say(f"{name} did not finish: {error}")
    finally:
        if is_first:  # Or its next start would found a second group beside the first.
            ask(cluster, name, f"{bootstrap} FALSE")
    time.sleep(RETRY_SECONDS)


def ask_rabbitmq(cluster: Cluster, name: str, path: str) -> Any:
    """The answer of the node's management. Raises `RABBITMQ_ERRORS`."""
    address = cluster.address(name.replace("-", "-management-"))
    answer = requests.get(
        f"http://{address}/api/{path}", auth=("firstcome", cluster.password("rabbitmq")), timeout=3
    )
    answer.raise_for_status()
    return answer.json()


def nodes(cluster: Cluster, name: str) -> Json:
    """What this node says of each. Raises `RABBITMQ_ERRORS`."""
    return {one["name"].partition("@")[0]: one for one in ask_rabbitmq(cluster, name, "nodes")}


def together(name: str, nodes: Mapping[str, Any]) -> set[str]:
    """The nodes that this one counts as running and not partitioned from it, by what it says."""
    apart = {node.partition("@")[0] for node in (nodes.get(name, {}).get("partitions") or ())}
    return {one for one, node in nodes.items() if node.get("running")} - apart


def tasks_queue(cluster: Cluster) -> Json:
    """The queue of tasks, as the first node that answers has it; nothing when none does."""
    for name in layout.names("rabbitmq"):
        with suppress(*RABBITMQ_ERRORS):
            return dict(ask_rabbitmq(cluster, name, "queues/%2F/celery"))
    return {}


def apart(views: Mapping[str, set[str]]) -> str:
    """The node to restart, by what each that answers sees: one that is together with the fewest others."""
    counts = {}
    for one in views:
        counts[one] = sum(other in views[one] and one in views[other] for other in views)
    fewest = min(sorted(counts), key=counts.__getitem__, default="")
    if counts.get(fewest, 0) < len(views):
        return fewest
    return ""


def keep_rabbitmq(cluster: Cluster) -> None:
    """Kill a node that is apart for long: supervisor starts it again, and it takes over what others know."""
    before = ""
    since = 0.0
    while True:
        views = {}
        for name in layout.names("rabbitmq"):
            with suppress(*RABBITMQ_ERRORS):
                views[name] = together(name, nodes(cluster, name))
        name = apart(views)
        now = time.monotonic()
        if name != before:
            since = now
        before = name
        if name and now - since >= APART_SECONDS:
            say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {name} is apart, and is restarted")
            children.kill(children.group_of(cluster.run, name))
            time.sleep(RESTART_SECONDS)
        time.sleep(PERIOD_SECONDS)


if __name__ == "__main__":
    {"mysql": keep_mysql, "rabbitmq": keep_rabbitmq}[sys.argv[1]](layout.remembered())
