"""The process `mysql-keeper`: founds MySQL's group, and has each member that is outside of it join again.

One process does this for all members, because founding a group needs an answer from each of them. It holds no
state: it may be killed at any moment, and starts from what the members say.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import MySQLdb

from scripts.cluster import layout
from scripts.cluster.layout import Cluster
from scripts.cluster.members import Members
from scripts.cluster.membership import Step, next_step
from scripts.stack import places

PERIOD_SECONDS = 1.0
RETRY_SECONDS = 3.0
"""After a failed attempt: a group that is just expelling a member refuses it for a moment."""


class Keeper:
    """Looks at the members once a second, and acts on each that needs it in a thread of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.members = Members(cluster)
        self._report = report_of(cluster)
        self._busy: dict[int, threading.Thread] = {}
        self._not_before: dict[int, float] = {}
        self._last: Step | None = None

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.look()
            time.sleep(PERIOD_SECONDS)

    def look(self) -> None:
        """One look, and what follows from it."""
        step = next_step(self.members.views())
        self._write(step)
        if step.action == "found":
            self._attempt(step.members[0], self.members.found, "founds the group")
            self._busy[step.members[0]].join()
        elif step.action == "join":
            for number in step.members:
                self._attempt(number, self.members.join, "joins the group")

    def _attempt(self, number: int, act: Callable[[int], None], what: str) -> None:
        busy = self._busy.get(number)
        if (busy and busy.is_alive()) or time.monotonic() < self._not_before.get(number, 0):
            return
        self._not_before[number] = time.monotonic() + RETRY_SECONDS
        thread = threading.Thread(target=self._act, args=(number, act, what), daemon=True)
        self._busy[number] = thread
        thread.start()

    def _act(self, number: int, act: Callable[[int], None], what: str) -> None:
        say(f"member {number} {what}")
        try:
            act(number)
        except MySQLdb.Error as error:
            say(f"member {number} did not finish: {error}")
        else:
            say(f"member {number} {what}: done")

    def _write(self, step: Step) -> None:
        if step == self._last:
            return
        self._last = step
        say(f"{step.action} {' '.join(map(str, step.members))} {step.reason}".rstrip())
        places.write_whole(self._report, json.dumps(asdict(step)))


def report_of(cluster: Cluster) -> Path:
    """Where the keeper writes its last step."""
    return cluster.instance.run / "mysql-keeper.json"


def last_step(cluster: Cluster) -> Step | None:
    """What the keeper saw last, if it has seen anything."""
    try:
        found = json.loads(report_of(cluster).read_text())
    except (OSError, ValueError):
        return None
    return Step(action=found["action"], members=tuple(found["members"]), reason=found["reason"])


def say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    Keeper(layout.remembered()).run()
