"""The process `mysql-keeper`: founds MySQL's group, and has each member that is outside of it join again.

One process does this for all members, because founding a group needs an answer from each of them. It holds no
state: it may be killed at any moment, and starts from what the members say.
"""

import time

from lab.cluster import layout, steps
from lab.cluster.group_replication.members import GroupMembers
from lab.cluster.group_replication.membership import next_step
from lab.cluster.layout import Cluster
from lab.cluster.steps import Attempts, Step

PERIOD_SECONDS = 1.0


class Keeper:
    """Looks at the members once a second, and acts on each that needs it in a thread of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.members = GroupMembers.of(cluster)
        self._cluster = cluster
        self._attempts = Attempts()
        self._last: Step | None = None

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.look()
            time.sleep(PERIOD_SECONDS)

    def look(self) -> None:
        """One look, and what follows from it."""
        step = next_step(self.members.views())
        if step != self._last:
            self._last = step
            steps.write(self._cluster, step)
        if step.action == "found":
            self._attempts.begin(step.members[0], self.members.found, "founds the group")
            self._attempts.wait(step.members[0])
        elif step.action == "join":
            for number in step.members:
                self._attempts.begin(number, self.members.join, "joins the group")


if __name__ == "__main__":
    Keeper(layout.remembered()).run()
