"""A member that is not started yet: its position, and how it learns whether it founds the cluster or joins.

A server does either from its start on, so the member's process waits before it. It writes down its
position, and the keeper, which reads those of all members, writes down which of them founds the cluster.
"""

import json
import os
from pathlib import Path

from scripts.cluster.galera.membership import Position
from scripts.cluster.layout import Cluster
from scripts.stack import places, process_identity


def announce(cluster: Cluster, number: int, position: Position) -> None:
    """Say that this process, which is to become the member's server, waits, and what the member has."""
    found = {"history": position.history, "number": position.number}
    places.write_whole(_report(cluster, number), json.dumps(found))


def withdraw(cluster: Cluster, number: int) -> None:
    """Say no more that this member waits, and forget an answer to an earlier wait."""
    _report(cluster, number).unlink(missing_ok=True)
    _order(cluster, number).unlink(missing_ok=True)


def position_of(cluster: Cluster, number: int) -> Position | None:
    """The position of a member whose process waits; None when it does not."""
    if _process(cluster, number) is None:
        return None
    try:
        return Position(**json.loads(_report(cluster, number).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def order_to_found(cluster: Cluster, number: int) -> None:
    """Have the member that waits found the cluster: this process of it, and none that starts later."""
    places.write_whole(_order(cluster, number), f"{_process(cluster, number)}\n")


def is_to_found(cluster: Cluster, number: int) -> bool:
    """Whether this process was ordered to."""
    try:
        return int(_order(cluster, number).read_text()) == os.getpid()
    except (OSError, ValueError):
        return False


def _process(cluster: Cluster, number: int) -> int | None:
    return process_identity.leader_of(cluster.instance.run, f"mariadb-{number}")


def _report(cluster: Cluster, number: int) -> Path:
    return cluster.instance.run / f"mariadb-{number}.position"


def _order(cluster: Cluster, number: int) -> Path:
    return cluster.instance.run / f"mariadb-{number}.found"
