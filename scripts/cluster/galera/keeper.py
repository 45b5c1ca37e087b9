"""The process `mariadb-keeper`: founds Galera's cluster, and sees to it that one member writes.

One process does this for all members, because founding a cluster needs an answer from each of them. It holds
no state: it may be killed at any moment, and starts from what the members say. While it is away, the member
that writes goes on to; if that one fails too, another one takes its place when the keeper is back.
"""

import time
from collections.abc import Callable, Mapping

from scripts.cluster import layout, steps
from scripts.cluster.galera.members import GaleraMembers
from scripts.cluster.galera.membership import next_step
from scripts.cluster.layout import Cluster
from scripts.cluster.steps import Attempts, Step

PERIOD_SECONDS = 0.3
ANSWER_SECONDS = 0.6
"""How long a look waits for members that don't answer: one that is frozen must not delay the next writer."""


class Keeper:
    """Looks at the members three times a second, and acts on each that needs it in a thread of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.members = GaleraMembers.of(cluster)
        self._cluster = cluster
        self._attempts = Attempts()
        self._last: Step | None = None
        self._acts: Mapping[str, tuple[Callable[[int], None], str]] = {
            "found": (self.members.found, "founds the cluster"),
            "revive": (self.members.revive, "goes on as the primary component"),
            "appoint": (self.members.appoint, "is appointed as the writer"),
            "close": (self.members.close, "takes no more writes"),
            "open": (self.members.open, "takes writes"),
        }

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.look()
            time.sleep(PERIOD_SECONDS)

    def look(self) -> None:
        """One look, and what follows from it."""
        step = next_step(self.members.views(within_seconds=ANSWER_SECONDS))
        if step != self._last:
            self._last = step
            steps.write(self._cluster, step)
        if step.action in self._acts:
            act, what = self._acts[step.action]
            for number in step.members:
                self._attempts.begin(number, act, what)


if __name__ == "__main__":
    Keeper(layout.remembered()).run()
