"""The process `rabbitmq-keeper`: restarts a node that stays apart from the others after a silence.

RabbitMQ's own `pause_minority` and `autoheal` each left nodes apart in drills. The restart costs nothing:
the queue needs a majority of the nodes anyway.
"""

import time
from collections.abc import Mapping

from lab.cluster import findings, layout
from lab.cluster.layout import Cluster
from lab.cluster.steps import say
from scripts.stack import process_identity

PERIOD_SECONDS = 1.0
APART_SECONDS = 6.0
"""A node that has just come back needs a moment to find the others."""
RESTART_SECONDS = 30.0
"""What a node may take to come back, before it or another one is restarted."""

Views = Mapping[int, frozenset[int]]
"""Of each node that answers, the nodes that it counts as running and as not partitioned from itself."""


def apart(views: Views) -> int | None:
    """The node to restart; None when all that answer see one another.

    It is outside of the largest set of nodes that the same node sees and that see it.
    """
    together = {
        number: [other for other in views if other in views[number] and number in views[other]]
        for number in views
    }
    if not together:
        return None
    kept = max(sorted(together), key=lambda number: len(together[number]))
    return next((number for number in sorted(views) if number not in {kept, *together[kept]}), None)


class Keeper:
    """Looks at the nodes once a second. It holds no state that matters: it may be killed at any moment."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._since: tuple[int, float] | None = None
        self._not_before = 0.0

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.look(findings.nodes_as_seen(self._cluster), time.monotonic())
            time.sleep(PERIOD_SECONDS)

    def look(self, views: Views, now: float) -> None:
        """One look, and the restart of a node that has been apart for long enough."""
        number = apart(views)
        if number is None or now < self._not_before:
            self._since = None
        elif self._since is None or self._since[0] != number:
            self._since = number, now
        elif now - self._since[1] >= APART_SECONDS:
            self.restart(number)
            self._not_before = now + RESTART_SECONDS

    def restart(self, number: int) -> None:
        """Kill the node; supervisor starts it again, and it takes over what the others know."""
        name = f"rabbitmq-{number}"
        say(f"{name} is apart from the others, and is restarted")
        process_identity.kill(process_identity.group_of(self._cluster.instance.run, name))


if __name__ == "__main__":
    Keeper(layout.remembered()).run()
